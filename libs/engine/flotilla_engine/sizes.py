"""Byte sizes in words, as go-units writes them."""

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def human_size(size_bytes: float) -> str:
    """Write a size in powers of 1000: ``1.024kB`` (``units.HumanSize``)."""
    return _written(size_bytes, 1000.0, _DECIMAL)


def binary_size(size_bytes: float) -> str:
    """Write a size in powers of 1024: ``6MiB`` (``units.BytesSize``)."""
    return _written(size_bytes, 1024.0, _BINARY)


def _written(size: float, step: float, units: tuple[str, ...]) -> str:
    index = 0
    while size >= step and index < len(units) - 1:
        size /= step
        index += 1
    return f"{size:.4g}{units[index]}"
