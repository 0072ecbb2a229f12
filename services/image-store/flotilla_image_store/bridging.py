"""Between a stream of the event loop and work in a thread: bounded by the stream's own window."""

import asyncio
from collections.abc import Iterator

from flotilla_bus import Stream


class ThreadSide:
    """A stream as a thread sees it: each call waits for the event loop."""

    def __init__(self, stream: Stream) -> None:
        """Wrap a stream of the running event loop."""
        self._stream = stream
        self._loop = asyncio.get_running_loop()

    def chunks(self) -> Iterator[bytes]:
        """Yield what comes, up to the other end's EOF.

        Raises:
            FlotillaError: If the stream is reset or its other end dies.
        """
        while chunk := asyncio.run_coroutine_threadsafe(self._stream.read(), self._loop).result():
            yield chunk

    def write(self, data: bytes) -> None:
        """Send, and wait for room."""
        asyncio.run_coroutine_threadsafe(self._stream.write(data), self._loop).result()
