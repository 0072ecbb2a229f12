"""Waiting for the end of a process that is no child."""

import asyncio
import os


async def ended(pid: int, timeout_s: float) -> None:
    """Return when the process has ended, at the latest after the time-out."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
