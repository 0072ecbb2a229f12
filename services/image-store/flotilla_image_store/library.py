"""Which images there are and what they are called: a picture of one moment, no storage."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from flotilla_core.errors import InvalidArgumentError, NotFoundError
from flotilla_engine.records import ImageRecord
from flotilla_oci import digests, platforms, references
from flotilla_oci.references import Reference


@dataclass
class StoredImage:
    """An image with its names in normal form, in their order."""

    record: ImageRecord
    manifest_digest: str
    manifest_media_type: str
    references: list[Reference] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The image's id."""
        return self.record.id

    @property
    def tags(self) -> list[Reference]:
        """The names that are tags."""
        return [reference for reference in self.references if not reference.digest]

    @property
    def chain_ids(self) -> list[str]:
        """The layers' chain ids, bottom first."""
        return self.record.chain_ids()

    def named(self) -> ImageRecord:
        """Return the record with the image's names in familiar form."""
        return self.record.model_copy(
            update={
                "repo_tags": [reference.familiar for reference in self.tags],
                "repo_digests": [
                    reference.familiar for reference in self.references if reference.digest
                ],
            }
        )


def no_such_image(text: str) -> NotFoundError:
    """Return dockerd's error for an unknown image."""
    try:
        return NotFoundError(f"No such image: {references.parse(text).with_default_tag().familiar}")
    except InvalidArgumentError:
        return NotFoundError(f"No such image: {text}")


class Library:
    """All images of a moment."""

    def __init__(self, images: dict[str, StoredImage]) -> None:
        """Look at these images, by id."""
        self.images = images
        self._by_reference = {
            str(reference): image for image in images.values() for reference in image.references
        }

    def __iter__(self) -> Iterator[StoredImage]:
        return iter(list(self.images.values()))

    def resolve(self, text: str, platform: str = "") -> StoredImage:
        """Find an image by name, id or the unique beginning of an id, as dockerd does.

        Raises:
            InvalidArgumentError: If it is no reference.
            NotFoundError: If there is no such image, or not for that platform.
        """
        image = self._find(text)
        if image is None:
            raise no_such_image(text)
        if platform:
            check_platform(image.record, text, platform)
        return image

    def _find(self, text: str) -> StoredImage | None:
        full = whole_id(text)
        if full:
            return self.images.get(full)
        reference = lookup_name(references.parse(text))
        image = self._by_reference.get(str(reference))
        return image or self._by_prefix(text)

    def _by_prefix(self, text: str) -> StoredImage | None:
        if not references.is_identifier(text):
            return None
        prefix = "sha256:" + text.removeprefix("sha256:")
        found = [image for key, image in self.images.items() if key.startswith(prefix)]
        return found[0] if len(found) == 1 else None

    def children(self, image_id: str) -> list[StoredImage]:
        """Return the images that were made from this one."""
        return [image for image in self.images.values() if image.record.parent == image_id]

    def remove_reference(self, reference: Reference) -> None:
        """Forget a name."""
        image = self._by_reference.pop(str(reference))
        image.references.remove(reference)

    def remove(self, image: StoredImage) -> list[str]:
        """Forget an image and its names; return the chain ids that no image has any more."""
        for reference in list(image.references):
            self.remove_reference(reference)
        del self.images[image.id]
        used = self.chain_uses()
        return [chain_id for chain_id in reversed(image.chain_ids) if chain_id not in used]

    def chain_uses(self) -> Counter[str]:
        """Return how many images have each layer."""
        return Counter(chain_id for image in self for chain_id in set(image.chain_ids))

    def layer_sizes(self) -> dict[str, int]:
        """Return the unpacked size of each layer by chain id."""
        return {
            chain_id: layer.diff_bytes
            for image in self
            for chain_id, layer in zip(image.chain_ids, image.record.layers, strict=True)
        }


def whole_id(text: str) -> str:
    """Return the id if the text is a whole one, with or without its algorithm; else nothing."""
    if len(text) == 64 and references.is_identifier(text):
        return "sha256:" + text
    return text if digests.is_digest(text) else ""


def lookup_name(reference: Reference) -> Reference:
    """Return the name that is looked up: a digest goes before a tag, `latest` if there is none."""
    if reference.digest:
        return reference.without_suffix().with_digest(reference.digest)
    return reference.with_default_tag()


def check_platform(record: ImageRecord, text: str, platform: str) -> None:
    """Check that an image runs where it is asked for.

    Raises:
        NotFoundError: If it does not.
    """
    wanted = platforms.parse(platform)
    has = platforms.normalized(
        record.platform.os, record.platform.architecture, record.platform.variant
    )
    if not platforms.satisfies(has, wanted):
        raise NotFoundError(
            f"image with reference {text} was found but does not match the specified platform: "
            f"wanted {wanted}, actual: {has}"
        )
