"""``HostConfig.Binds`` and ``VolumesFrom``: what their strings mean (moby ``volume/mounts``)."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from flotilla_core.errors import InvalidArgumentError

PROPAGATIONS = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_KINDS = {
    **dict.fromkeys(("rw", "ro"), "access"),
    **dict.fromkeys(("z", "Z"), "label"),
    **dict.fromkeys(PROPAGATIONS, "propagation"),
    "nocopy": "copy",
    **dict.fromkeys(("consistent", "cached", "delegated", "default"), "consistency"),
}
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)


@dataclass(frozen=True)
class BindSpec:
    """One entry of ``Binds``; a source that is no absolute path names a volume.

    Attributes:
        source: Path on the host or name of the volume; empty for an anonymous volume.
        destination: Clean absolute path in the container.
        mode: The options as given: ``ro,z``.
    """

    source: str
    destination: str
    mode: str = ""

    @property
    def is_volume(self) -> bool:
        """Whether a volume is meant, not a path of the host."""
        return not self.source.startswith("/")

    @property
    def options(self) -> frozenset[str]:
        """The options, one by one."""
        return frozenset(self.mode.split(",")) if self.mode else frozenset()

    @property
    def read_only(self) -> bool:
        """Whether the container may not write."""
        return "ro" in self.options

    @property
    def propagation(self) -> str:
        """The propagation asked for, or nothing."""
        return next(iter(self.options & PROPAGATIONS), "")

    @property
    def no_copy(self) -> bool:
        """Whether the image's content is not copied into an empty volume."""
        return "nocopy" in self.options


def is_mode(text: str) -> bool:
    """Tell whether text is a list of options, each kind at most once."""
    if not text:
        return True
    kinds = [_KINDS.get(option) for option in text.split(",")]
    return None not in kinds and len(kinds) == len(set(kinds))


def parse_bind(text: str) -> BindSpec:
    """Read ``source:destination[:options]`` or ``destination``.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    invalid = f"invalid volume specification: '{text}'"
    parts = text.split(":")
    if len(parts) > 3 or not parts[0] or (len(parts) == 2 and is_mode(parts[1])):
        raise InvalidArgumentError(invalid)
    source = mode = ""
    if len(parts) == 1:
        destination = parts[0]
    else:
        source, destination = parts[:2]
        mode = ":".join(parts[2:])
        if len(parts) == 3 and not is_mode(mode):
            raise InvalidArgumentError(f"invalid mode: {mode}")
    kind = "bind" if source.startswith("/") else "volume"
    if not destination:
        raise InvalidArgumentError(invalid)
    spec = BindSpec(source, destination, mode)
    wrong = destination_error(destination)
    if not wrong and kind == "bind" and spec.no_copy:
        wrong = "field VolumeOptions must not be specified"
    if not wrong and kind == "volume" and spec.propagation:
        wrong = "field BindOptions must not be specified"
    if wrong:
        raise InvalidArgumentError(f'{invalid}: invalid mount config for type "{kind}": {wrong}')
    return BindSpec(_clean(source) if kind == "bind" else source, _clean(destination), mode)


def parse_volumes_from(text: str) -> tuple[str, str]:
    """Return container and mode of ``container[:mode]``.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if not text:
        raise InvalidArgumentError("volumes-from specification cannot be an empty string")
    container, colon, mode = text.partition(":")
    kinds = {_KINDS.get(option) for option in mode.split(",")}
    if colon and (not is_mode(mode) or kinds & {"propagation", "copy"}):
        raise InvalidArgumentError(f"invalid mode: {mode}")
    return container, mode


def destination_error(destination: str) -> str:
    """Tell in dockerd's words why nothing can be mounted there; empty: it can."""
    if destination.startswith("/") and _clean(destination) == "/":
        return "invalid specification: destination can't be '/'"
    if not destination.startswith("/"):
        return f"invalid mount path: '{destination}' mount path must be absolute"
    return ""


def check_volume_name(name: str) -> None:
    """Check a volume's name.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if len(name) == 1:
        raise InvalidArgumentError(
            f"create {name}: volume name is too short, names should be at least two "
            "alphanumeric characters"
        )
    if not _VOLUME_NAME.fullmatch(name):
        raise InvalidArgumentError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )


def _clean(path: str) -> str:
    """Normalise like Go's ``filepath.Clean``, dots included."""
    parts: list[str] = []
    for part in PurePosixPath(path).parts[1:]:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/" + "/".join(parts)
