"""The ``filters`` parameter, and dockerd's ways to match (moby ``api/types/filters``)."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from flotilla_core.errors import InvalidArgumentError

CONTAINER_LIST = frozenset(
    {
        "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label",
        "name", "network", "node", "publish", "since", "status", "volume",
    }
)  # fmt: skip
CONTAINER_PRUNE = frozenset({"label", "label!", "until", "node"})
IMAGE_LIST = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})
IMAGE_PRUNE = frozenset({"dangling", "label", "label!", "until"})
NETWORK_LIST = frozenset({"dangling", "driver", "id", "label", "name", "node", "scope", "type"})
NETWORK_PRUNE = frozenset({"label", "label!", "until"})
VOLUME_LIST = frozenset({"dangling", "driver", "label", "name", "node"})
VOLUME_PRUNE = frozenset({"all", "label", "label!", "node"})

_TRUE = frozenset({"1", "true"})
_FALSE = frozenset({"0", "false"})


def invalid_filter(name: str, value: object = None) -> InvalidArgumentError:
    """Return dockerd's error for a filter it does not know, or a value it cannot read."""
    if value is None:
        return InvalidArgumentError(f"invalid filter '{name}'")
    if isinstance(value, list):
        value = f"[{' '.join(value)}]"
    return InvalidArgumentError(f"invalid filter '{name}={value}'")


class Filters:
    """Values by filter; a filter that was not given matches everything."""

    def __init__(self, values: Mapping[str, Collection[str]] | None = None) -> None:
        """Take values by filter."""
        self._values = {name: list(given) for name, given in (values or {}).items()}

    @classmethod
    def parse(cls, text: str | None, allowed: Collection[str] | None = None) -> "Filters":
        """Read the parameter, in its form of today or in the old one of lists.

        Raises:
            InvalidArgumentError: If it is neither, or names a filter that is not allowed.
        """
        if not text:
            return cls()
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidArgumentError("invalid filter") from None
        if document is None:
            return cls()
        if not isinstance(document, dict):
            raise InvalidArgumentError("invalid filter")
        filters = cls({name: _values(given) for name, given in document.items()})
        if allowed is not None:
            filters.check(allowed)
        return filters

    def check(self, allowed: Collection[str]) -> None:
        """Raise InvalidArgumentError if there is a filter that is not allowed."""
        for name in self:
            if name not in allowed:
                raise invalid_filter(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: str) -> list[str]:
        """Return all values of a filter."""
        return self._values.get(name, [])

    def flag(self, name: str, default: bool) -> bool:
        """Return a filter that is true or false.

        Raises:
            InvalidArgumentError: If it has another value, or both.
        """
        given = self.get(name)
        if not given:
            return default
        is_true, is_false = bool(_TRUE & set(given)), bool(_FALSE & set(given))
        if is_true == is_false:
            raise invalid_filter(name, given)
        return is_true

    def exact(self, name: str, source: str) -> bool:
        """Match the whole text (``ExactMatch``)."""
        given = self.get(name)
        return not given or source in given

    def match(self, name: str, source: str) -> bool:
        """Match the whole text or a regular expression anywhere in it (``Match``)."""
        given = self.get(name)
        return not given or source in given or any(_found(value, source) for value in given)

    def fuzzy(self, name: str, source: str) -> bool:
        """Match the beginning of the text (``FuzzyMatch``)."""
        given = self.get(name)
        return not given or any(source.startswith(value) for value in given)

    def labels(self, labels: Mapping[str, str], name: str = "label") -> bool:
        """Match if all given ``key`` or ``key=value`` are there (``MatchKVList``)."""
        for wanted in self.get(name):
            key, equals, value = wanted.partition("=")
            if key not in labels or (equals and labels[key] != value):
                return False
        return True

    def prune_labels(self, labels: Mapping[str, str]) -> bool:
        """Match ``label`` and ``label!`` as the prune endpoints do."""
        if not self.labels(labels):
            return False
        return "label!" not in self or not self.labels(labels, "label!")


def _values(given: Any) -> list[str]:
    if given is None:
        return []
    if isinstance(given, dict) and all(isinstance(flag, bool) for flag in given.values()):
        given = list(given)
    if isinstance(given, list) and all(isinstance(value, str) for value in given):
        with suppress(UnicodeEncodeError):  # half a surrogate pair
            "".join(given).encode()
            return given
    raise InvalidArgumentError("invalid filter")


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None


def _found(pattern: str, source: str) -> bool:
    if len(pattern) > 256:  # a name is never that long
        return False
    compiled = _compiled(pattern)
    return compiled is not None and compiled.search(source) is not None
