"""Rule sets in nft's language, by libnftables, or by the program nft where that is missing."""

import ctypes
import errno
import subprocess
from functools import cache


def load_rules(script: str) -> None:
    """Run a script in this thread's namespace; it takes effect whole or not at all.

    Raises:
        OSError: With nft's own words.
    """
    library = _library()
    error = _by_library(library, script) if library else _by_program(script)
    if error is not None:
        raise OSError(errno.EINVAL, f"nft: {error}")


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        return None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _by_library(library: ctypes.CDLL, script: str) -> str | None:
    # A context has a socket of the namespace that it was made in: one for each call.
    context = library.nft_ctx_new(0)
    if not context:
        return "no context"
    try:
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, script.encode()) == 0:
            return None
        said: bytes = library.nft_ctx_get_error_buffer(context) or b""
        return said.decode(errors="replace").strip()
    finally:
        library.nft_ctx_free(context)


def _by_program(script: str) -> str | None:
    done = subprocess.run(
        ["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False
    )
    return done.stderr.strip() if done.returncode else None
