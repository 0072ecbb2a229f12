"""``python -m flotilla_runtime_agent.network.daemon SOCKET VERSION``; returns once it serves."""

import os
import sys


def main() -> int:
    """Leave a process behind that serves, until there is nothing to serve and no agent."""
    readable, writable = os.pipe()
    if os.fork():
        os.close(writable)
        return 0 if os.read(readable, 1) else 1
    os.close(readable)
    os.setsid()
    # asyncio would load OpenSSL, which is a third of this process's memory.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    from flotilla_runtime_agent.network.daemon.control import serve

    def ready() -> None:
        os.write(writable, b"1")
        os.close(writable)

    serve(sys.argv[1], sys.argv[2], ready)
    return 0


if __name__ == "__main__":
    sys.exit(main())
