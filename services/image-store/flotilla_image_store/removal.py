"""`docker rmi` and `docker image prune`: what dockerd untags, deletes and refuses.

The rules are those of moby's daemon/images/image_delete.go and image_prune.go; the texts too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flotilla_bus.contracts.images import ContainerUse, Deleted
from flotilla_core.errors import ConflictError, FlotillaError, InvalidArgumentError
from flotilla_engine.filters import Filters
from flotilla_engine.timestamps import parse_moment, unix_ns
from flotilla_image_store.library import Library, StoredImage, lookup_name, no_such_image
from flotilla_image_store.listing import created
from flotilla_oci import references
from flotilla_oci.references import Reference

_ID_LENGTH = 12


@dataclass(frozen=True)
class _Conflict:
    image_id: str
    message: str
    hard: bool = False
    used: bool = False

    def error(self) -> ConflictError:
        force = "cannot be forced" if self.hard else "must be forced"
        return ConflictError(
            f"conflict: unable to delete {_short(self.image_id)} ({force}) - {self.message}"
        )


@dataclass
class Removal:
    """Works out a removal on a library, which it changes; the caller then stores the outcome."""

    library: Library
    in_use: list[ContainerUse]
    lines: list[Deleted] = field(default_factory=list)
    untagged: list[tuple[str, Reference]] = field(default_factory=list)
    """The image's id and the name it lost."""
    deleted: list[StoredImage] = field(default_factory=list)

    def remove(self, text: str, *, force: bool, prune_parents: bool) -> None:
        """Untag or delete an image.

        Raises:
            InvalidArgumentError: If it is no reference.
            NotFoundError: If there is no such image.
            ConflictError: With dockerd's text.
        """
        image = self.library.resolve(text)
        was_name_given = not _is_prefix_of(image.id, text)
        if was_name_given:
            self._check_single_use(image, text, force=force)
            self._untag_by_name(image, text)
            if image.references:
                return
        elif _is_single(image.references):
            conflict = self._conflict(image, soft=not force, references=False)
            if conflict:
                raise conflict.error()
            for reference in list(image.references):
                self._untag(image, reference)
        self._delete(image, force=force, prune_parents=prune_parents, is_quiet=was_name_given)

    def prune(self, filters: Filters) -> None:
        """Remove what is not used.

        Raises:
            InvalidArgumentError: If a filter has a wrong value.
        """
        dangling_only = filters.flag("dangling", default=True)
        until = [_until(text) for text in filters.get("until")[:1]]
        for image in self._prunable(filters, dangling_only=dangling_only, until=until):
            if image.id not in self.library.images:
                continue
            if not image.references:
                self._attempt(image.id.partition(":")[2])
            elif not dangling_only or not image.tags:
                for reference in list(image.references):
                    self._attempt(str(reference))

    def _prunable(
        self, filters: Filters, *, dangling_only: bool, until: list[int]
    ) -> list[StoredImage]:
        found = []
        for image in self.library:
            has_children = bool(self.library.children(image.id))
            if has_children and (dangling_only or not image.references):
                continue
            if any(unix_ns(created(image)) > limit for limit in until):
                continue
            if filters.prune_labels(image.record.config.labels):
                found.append(image)
        return found

    def _attempt(self, text: str) -> None:
        try:
            self.remove(text, force=False, prune_parents=True)
        except FlotillaError:
            return  # an image that is in use stays

    def _check_single_use(self, image: StoredImage, text: str, *, force: bool) -> None:
        user = next((use for use in self.in_use if use.image_id == image.id), None)
        if user is not None and not force and _is_single(image.references):
            raise ConflictError(
                f'conflict: unable to remove repository reference "{text}" (must force) - '
                f"container {_short(user.container)} is using its referenced image "
                f"{_short(image.id)}"
            )

    def _untag_by_name(self, image: StoredImage, text: str) -> None:
        reference = lookup_name(references.parse(text))
        if reference not in image.references:
            raise no_such_image(text)
        self._untag(image, reference)
        same = [name for name in image.references if name.name == reference.name]
        if not reference.digest and all(name.digest for name in same):
            for name in same:
                self._untag(image, name, is_event=False)

    def _untag(self, image: StoredImage, reference: Reference, *, is_event: bool = True) -> None:
        self.library.remove_reference(reference)
        self.lines.append(Deleted(untagged=reference.familiar))
        if is_event:
            self.untagged.append((image.id, reference))

    def _delete(
        self, image: StoredImage, *, force: bool, prune_parents: bool, is_quiet: bool
    ) -> None:
        conflict = self._conflict(image, soft=not force)
        if conflict:
            is_dangling = not image.references and not self.library.children(image.id)
            if is_quiet and (not is_dangling or conflict.used):
                return
            raise conflict.error()
        for reference in list(image.references):
            self._untag(image, reference, is_event=False)
        gone = self.library.remove(image)
        self.deleted.append(image)
        self.lines += [Deleted(deleted=digest) for digest in (image.id, *gone)]
        parent = self.library.images.get(image.record.parent)
        if prune_parents and parent is not None:
            self._delete(parent, force=False, prune_parents=True, is_quiet=True)

    def _conflict(
        self, image: StoredImage, *, soft: bool, references: bool = True
    ) -> _Conflict | None:
        if self.library.children(image.id):
            return _Conflict(image.id, "image has dependent child images", hard=True)
        users = [use for use in self.in_use if use.image_id == image.id]
        for use in users:
            if use.running:
                text = f"image is being used by running container {_short(use.container)}"
                return _Conflict(image.id, text, hard=True, used=True)
        if not soft:
            return None
        if references and image.references:
            return _Conflict(image.id, "image is referenced in multiple repositories")
        for use in users:
            text = f"image is being used by stopped container {_short(use.container)}"
            return _Conflict(image.id, text, used=True)
        return None


def reclaimed_bytes(lines: Iterable[Deleted], layer_sizes: dict[str, int]) -> int:
    """Return the unpacked size of the layers that are gone."""
    return sum(layer_sizes.get(line.deleted, 0) for line in lines)


def _is_prefix_of(image_id: str, text: str) -> bool:
    """Tell whether an id or its beginning was given rather than a name."""
    return image_id.startswith(text) or image_id.partition(":")[2].startswith(text)


def _is_single(names: list[Reference]) -> bool:
    """Tell whether there is at most one tag, and digests of its repository alone."""
    if len(names) <= 1:
        return True
    tags = [name for name in names if not name.digest]
    if len(tags) > 1:
        return False
    repositories = {name.name for name in names if name.digest}
    return repositories == {(tags or names)[0].name}


def _short(digest: str) -> str:
    return digest.rpartition(":")[2][:_ID_LENGTH]


def _until(text: str) -> int:
    try:
        return parse_moment(text, datetime.now(UTC))
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error
