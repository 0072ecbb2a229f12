"""`docker images` and `docker history`: dockerd's rules of what is listed, and in which order."""

import re
from datetime import UTC, datetime

from flotilla_bus.contracts.images import HistoryEntry, ListedImage, ListRequest
from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.filters import Filters
from flotilla_engine.timestamps import parse_moment, unix_ns
from flotilla_image_store.library import Library, StoredImage
from flotilla_oci.images import ImageConfig
from flotilla_oci.references import Reference

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def listed(library: Library, request: ListRequest) -> list[ListedImage]:
    """Return the images that the request asks for, newest first.

    Raises:
        InvalidArgumentError: If a filter has a wrong value.
        NotFoundError: If a filter names an unknown image.
    """
    filters = Filters(request.filters)
    dangling = filters.flag("dangling", default=False)
    before = [created(library.resolve(text)) for text in filters.get("before")[:1]]
    since = [created(library.resolve(text)) for text in filters.get("since")[:1]]
    until = [_until(text) for text in filters.get("until")[:1]]
    found = []
    for image in library:
        moment = created(image)
        if any(moment >= limit for limit in before) or any(moment <= limit for limit in since):
            continue
        if any(unix_ns(moment) > limit for limit in until):
            continue
        if not filters.labels(image.record.config.labels):
            continue
        if dangling and library.children(image.id):
            continue
        shown = _shown(library, image, filters, dangling=dangling, all_images=request.all)
        if shown is not None:
            found.append(shown)
    found.sort(key=lambda image: (created(image), image.id), reverse=True)
    uses = library.chain_uses() if request.shared_size else None
    return [
        ListedImage(
            image=image.named(),
            shared_size_bytes=-1
            if uses is None
            else sum(
                layer.diff_bytes
                for chain_id, layer in zip(image.chain_ids, image.record.layers, strict=True)
                if uses[chain_id] > 1
            ),
        )
        for image in found
    ]


def _shown(
    library: Library, image: StoredImage, filters: Filters, *, dangling: bool, all_images: bool
) -> StoredImage | None:
    """Return the image with the names to show, or None if it is not listed."""
    patterns = filters.get("reference")
    names = [
        reference
        for reference in image.references
        if not patterns or any(familiar_match(pattern, reference) for pattern in patterns)
    ]
    shown = StoredImage(image.record, image.manifest_digest, image.manifest_media_type, names)
    if names:
        return None if dangling and shown.tags else shown
    if not all_images and library.children(image.id):
        return None
    if patterns or ("dangling" in filters and not dangling):
        return None
    return shown


def history(library: Library, image: StoredImage, config: ImageConfig) -> list[HistoryEntry]:
    """Return an image's history, newest first.

    Raises:
        InvalidArgumentError: If the image's configuration contradicts itself.
    """
    sizes = [layer.diff_bytes for layer in image.record.layers]
    entries: list[HistoryEntry] = []
    for step in config.history:
        size = 0
        if not step.get("empty_layer"):
            if not sizes:
                raise InvalidArgumentError("too many non-empty layers in History section")
            size = sizes.pop(0)
        moment = ImageConfig(b"", {"created": step.get("created")}).created
        entries.insert(
            0,
            HistoryEntry(
                id="<missing>",
                created=int(moment.timestamp()),
                created_by=str(step.get("created_by") or ""),
                size_bytes=size,
                comment=str(step.get("comment") or ""),
            ),
        )
    current: StoredImage | None = image
    for entry in entries:
        if current is None:
            break
        entry.id = current.id
        entry.tags = [tag.familiar for tag in current.tags]
        current = library.images.get(current.record.parent)
    return entries


def familiar_match(pattern: str, reference: Reference) -> bool:
    """Match a name against a pattern of Go's path.Match (distribution/reference FamiliarMatch).

    Raises:
        InvalidArgumentError: If the pattern is malformed.
    """
    expression = _go_pattern(pattern)
    return bool(
        expression.fullmatch(reference.familiar) or expression.fullmatch(reference.familiar_name)
    )


def created(image: StoredImage) -> datetime:
    """Return when the image was made; the epoch if it does not say."""
    return image.record.created or _EPOCH


def _until(text: str) -> int:
    try:
        return parse_moment(text, datetime.now(UTC))
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error


def _go_pattern(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        letter = pattern[position]
        position += 1
        match letter:
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case "[":
                end = pattern.find("]", position + 1)
                if end < 0:
                    raise InvalidArgumentError("syntax error in pattern")
                parts.append(f"[{pattern[position:end]}]".replace("\\", "\\\\"))
                position = end + 1
            case "\\":
                if position == len(pattern):
                    raise InvalidArgumentError("syntax error in pattern")
                parts.append(re.escape(pattern[position]))
                position += 1
            case _:
                parts.append(re.escape(letter))
    try:
        return re.compile("".join(parts))
    except re.error as error:
        raise InvalidArgumentError("syntax error in pattern") from error
