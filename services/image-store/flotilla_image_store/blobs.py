"""Blobs on disk by digest: written aside, verified, then renamed, so always whole."""

import contextlib
import errno
import hashlib
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flotilla_core.errors import InternalError, InvalidArgumentError, NotFoundError
from flotilla_image_store.probing import LayerFacts, LayerProbe
from flotilla_oci import digests

_ABANDONED_S = 24 * 3600.0
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Blob:
    """A blob that has arrived, and what it unpacks to if it is a layer."""

    digest: str
    size_bytes: int
    layer: LayerFacts | None = None


class Ingest:
    """One blob on its way in. Its methods do file work: call them in a thread."""

    def __init__(self, folder: "BlobFolder", path: Path) -> None:
        """Write to `path` until the blob is whole.

        Raises:
            InternalError: Here and later, if the disk does not take it.
        """
        self._folder = folder
        self._path = path
        with _told_of_disk():
            self._file = path.open("wb")
        self._sha = hashlib.sha256()
        self._probe = LayerProbe()
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        with _told_of_disk():
            self._file.write(data)
        self._sha.update(data)
        self._probe.feed(data)
        self.size_bytes += len(data)

    def finish(self, expected: str | None = None) -> Blob:
        """Make the blob visible.

        Raises:
            InvalidArgumentError: If its digest is not the expected one; it is dropped then.
        """
        digest = "sha256:" + self._sha.hexdigest()
        if expected is not None and digest != expected:
            self.abort()
            raise InvalidArgumentError(
                f"provided digest did not match uploaded content: {expected} is {digest}"
            )
        blob = Blob(digest, self.size_bytes, self._probe.finish())
        try:
            with _told_of_disk():
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._folder.adopt(self._path, digest)
        except InternalError:
            self.abort()
            raise
        return blob

    def abort(self) -> None:
        """Drop what has come; harmless when finished or called twice."""
        with contextlib.suppress(OSError):  # what is buffered may not fit
            self._file.close()
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def _told_of_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO).lower()
        raise InternalError(f"image store: {reason}") from error


class BlobFolder:
    """All blobs of the store: `blobs/sha256/<2 hex>/<hex>`."""

    def __init__(self, root: Path) -> None:
        """Keep blobs below `root`."""
        self._blobs = root / "blobs"
        self._uploads = root / "uploads"
        self._arrived: Counter[str] = Counter()
        self._arrivals = threading.Lock()

    def open(self) -> None:
        """Make the folders and drop uploads that nobody will finish."""
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._uploads.mkdir(parents=True, exist_ok=True)
        self.drop_abandoned()

    def drop_abandoned(self) -> None:
        """Drop uploads that have stood still for a day: whoever wrote them has died."""
        for path in self._uploads.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()

    def path(self, digest: str) -> Path:
        """Return where the blob is, or would be."""
        algorithm, _, value = digests.validated(digest).partition(":")
        return self._blobs / algorithm / value[:2] / value

    def has(self, digest: str) -> bool:
        """Tell whether the blob is here."""
        return self.path(digest).is_file()

    def size(self, digest: str) -> int:
        """Return the blob's size in bytes.

        Raises:
            NotFoundError: If it is not here.
        """
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as error:
            raise NotFoundError(f"blob unknown to registry: {digest}") from error

    def read(self, digest: str) -> bytes:
        """Return a small blob's content.

        Raises:
            NotFoundError: If it is not here.
        """
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"blob unknown to registry: {digest}") from error

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Yield a blob's content."""
        with self.path(digest).open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                yield chunk

    def ingest(self) -> Ingest:
        """Begin a blob."""
        return Ingest(self, self._uploads / secrets.token_hex(16))

    def put(self, data: bytes) -> Blob:
        """Store a small blob."""
        ingest = self.ingest()
        ingest.write(data)
        return ingest.finish()

    def adopt(self, path: Path, digest: str) -> None:
        """Make a whole and verified file a blob, which stays at least until it is settled."""
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._arrivals:
            self._arrived[digest] += 1
            path.rename(target)

    def settle(self, digests: Iterable[str]) -> None:
        """Let blobs that have arrived be deleted: from now on the database knows who needs them."""
        with self._arrivals:
            self._arrived -= Counter(digests)

    def delete(self, digest: str) -> None:
        """Delete a blob, unless it has just arrived."""
        with self._arrivals:
            if digest not in self._arrived:
                self.path(digest).unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[str, float]]:
        """Yield each blob's digest and when it was written, in epoch seconds."""
        for path in self._blobs.glob("*/*/*"):
            try:
                yield f"{path.parent.parent.name}:{path.name}", path.stat().st_mtime
            except FileNotFoundError:
                continue
