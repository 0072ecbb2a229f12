"""Runs the system's own programs (ip, nft, …) and turns their failures into one line."""

import json
import os
import subprocess
from collections.abc import Sequence

from flotilla_cli.failure import CommandError

_TIMEOUT_S = 30.0
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"


def run(*argv: str, stdin: str | None = None) -> str:
    """Run a program and return its output.

    Raises:
        CommandError: If it is missing, fails, or takes longer than half a minute.
    """
    result = _completed(argv, stdin)
    if result.returncode != 0:
        raise CommandError(f"{' '.join(argv)}: {result.stderr.strip() or result.returncode}")
    return result.stdout


def succeeds(*argv: str) -> bool:
    """Run a program that is allowed to fail; say whether it did not."""
    try:
        return _completed(argv, None).returncode == 0
    except CommandError:
        return False


def run_json(*argv: str) -> list[dict[str, object]]:
    """Run a program that prints a JSON list of objects."""
    text = run(*argv)
    return json.loads(text) if text.strip() else []


def _completed(argv: Sequence[str], stdin: str | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, "PATH": _PATH},
        )
    except FileNotFoundError:
        raise CommandError(f"{argv[0]} is not installed; see `flotilla doctor`") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{' '.join(argv)}: no end within {_TIMEOUT_S:g} s") from None
