"""What users say about where a container should go: constraints and affinities, parsed.

Three spellings, all understood: our labels (``flotilla.node``, ``flotilla.constraints``), classic
Swarm's environment (``-e constraint:disk==ssd``, ``-e affinity:container==db``), and its labels
(``com.docker.swarm.constraints``, ``com.docker.swarm.affinities``, JSON lists). ``==~`` and
``!=~`` are wishes: they are dropped when no node meets them.
"""

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flotilla_core.errors import InvalidArgumentError

NODE_LABEL = "flotilla.node"
CONSTRAINTS_LABEL = "flotilla.constraints"
_SWARM_CONSTRAINTS = "com.docker.swarm.constraints"
_SWARM_AFFINITIES = "com.docker.swarm.affinities"
_EXPRESSION = re.compile(r"^\s*(?P<key>[A-Za-z0-9_./-]+)\s*(?P<op>==~?|!=~?)\s*(?P<value>.*?)\s*$")


@dataclass(frozen=True)
class Expression:
    """``key == value``, ``key != value``; the value may be a glob or ``/regular expression/``."""

    key: str
    equal: bool
    value: str
    soft: bool = False

    def __str__(self) -> str:
        """Return it as users write it."""
        return f"{self.key}{'==' if self.equal else '!='}{'~' if self.soft else ''}{self.value}"

    def accepts(self, values: Iterable[str]) -> bool:
        """Return whether the values that a node has for the key meet the expression."""
        return any(self._fits(value) for value in values) == self.equal

    def _fits(self, value: str) -> bool:
        if len(self.value) > 1 and self.value.startswith("/") and self.value.endswith("/"):
            return re.search(self.value[1:-1], value) is not None
        return fnmatch.fnmatchcase(value, self.value)


@dataclass(frozen=True)
class Wishes:
    """All that a container's labels and environment say of its place."""

    constraints: tuple[Expression, ...] = ()
    affinities: tuple[Expression, ...] = ()


def parse(text: str) -> Expression:
    """Read one expression.

    Raises:
        InvalidArgumentError: If it is none.
    """
    match = _EXPRESSION.match(text)
    if match is None:
        raise InvalidArgumentError(
            f"invalid placement expression {text!r}: expected key==value or key!=value"
        )
    operator, value = match["op"], match["value"]
    if value.startswith("/") and value.endswith("/"):
        try:
            re.compile(value[1:-1])
        except re.error as error:
            raise InvalidArgumentError(f"invalid placement expression {text!r}: {error}") from error
    return Expression(match["key"], operator.startswith("=="), value, soft=operator.endswith("~"))


def wishes(labels: Mapping[str, str], env: Iterable[str]) -> Wishes:
    """Collect what labels and environment say."""
    constraints, affinities = [], []
    if node := labels.get(NODE_LABEL):
        constraints.append(Expression("node", True, node))
    for text in labels.get(CONSTRAINTS_LABEL, "").split(","):
        if text.strip():
            constraints.append(parse(text))
    constraints += [parse(text) for text in _json_list(labels, _SWARM_CONSTRAINTS)]
    affinities += [parse(text) for text in _json_list(labels, _SWARM_AFFINITIES)]
    for variable in env:
        kind, _, text = variable.partition(":")
        if kind == "constraint" and text:
            constraints.append(parse(text))
        elif kind == "affinity" and text:
            affinities.append(parse(text))
    return Wishes(tuple(constraints), tuple(affinities))


def is_wish(variable: str) -> bool:
    """Return whether an environment variable is a wish, which the container never sees."""
    return variable.startswith(("constraint:", "affinity:"))


def _json_list(labels: Mapping[str, str], key: str) -> list[str]:
    text = labels.get(key)
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidArgumentError(f"label {key} is not a JSON list: {text}") from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InvalidArgumentError(f"label {key} is not a JSON list of strings: {text}")
    return found
