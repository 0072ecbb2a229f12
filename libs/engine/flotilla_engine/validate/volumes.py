"""dockerd's checks of a new volume (moby ``volume/local`` and ``volume/service``)."""

from collections.abc import Mapping

from flotilla_core.errors import InvalidArgumentError, NotFoundError
from flotilla_engine.volume_specs import check_volume_name

_VALID = ("device", "o", "size", "type")
_REQUIRED = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_LONGEST_NAME = 255  # of a folder, in bytes


def check_volume(name: str, driver: str, options: Mapping[str, str]) -> None:
    """Check what a new volume is to be.

    Raises:
        FlotillaError: With dockerd's text.
    """
    check_driver(name, driver)
    check_volume_name(name)
    if len(name) > _LONGEST_NAME:
        raise InvalidArgumentError(
            f"create {name}: error while creating volume root path '{name}': "
            f"mkdir {name}: file name too long"
        )
    if wrong := _options_error(options):
        raise InvalidArgumentError(f"create {name}: {wrong}")


def check_driver(name: str, driver: str) -> None:
    """Check a driver that is asked for.

    Raises:
        NotFoundError: With dockerd's text.
    """
    if driver not in ("", "local"):
        raise NotFoundError(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found'
        )


def _options_error(options: Mapping[str, str]) -> str:
    for option in options:
        if option not in _VALID:
            return f'invalid option: "{option}"'
    if size := options.get("size", ""):
        if not size.rstrip("bBiIkKmMgGtTpP").replace(".", "", 1).strip().isdecimal():
            return f"invalid size: '{size}'"
        return "quota size requested but no quota support"
    for option, others in _REQUIRED.items():
        for other in others:
            if option in options and other not in options:
                return f'missing required option: "{other}"'
    return ""
