"""A volume's content as a tar stream, for moving it between nodes."""

from pathlib import Path

from flotilla_runtime_agent.archive.files import receive_path, send_all
from flotilla_runtime_agent.archive.pipes import ByteReader, ByteWriter
from flotilla_runtime_agent.archive.view import FileView


async def send_content(folder: Path, stream: ByteWriter) -> None:
    """Write everything in the folder to the stream, as an uncompressed tar."""
    await send_all(FileView(folder), stream, all_attributes=True)


async def receive_content(folder: Path, stream: ByteReader) -> None:
    """Extract a tar stream into the folder.

    Raises:
        InvalidArgumentError: If it is no archive.
    """
    await receive_path(FileView(folder), "/", "", stream)
