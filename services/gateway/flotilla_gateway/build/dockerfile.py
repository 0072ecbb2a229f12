"""Dockerfiles: lines to instructions, and the expansion of variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from flotilla_core.errors import InvalidArgumentError

_DIRECTIVE = re.compile(r"#\s*([A-Za-z]\w*)\s*=\s*(.+?)\s*$")
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?(?:\s+|$)")
_FLAGS = {
    "FROM": {"platform"},
    "COPY": {"from", "chown"},
    "ADD": {"chown"},
}
_BUILDKIT_FLAGS = {"mount", "network", "security", "chmod", "link", "parents", "keep-git-dir"}
_INSTRUCTIONS = frozenset(
    {
        "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
        "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    }
)  # fmt: skip
EXPANDED = frozenset(
    {"ADD", "COPY", "ENV", "EXPOSE", "FROM", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
"""Instructions whose arguments may hold variables."""


@dataclass(frozen=True)
class Instruction:
    """One instruction; `text` is as it was written, on one line."""

    name: str
    arguments: str
    line: int
    text: str
    flags: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Stage:
    """A `FROM` and what follows it."""

    base: Instruction
    name: str = ""
    steps: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True)
class Dockerfile:
    """A parsed file: arguments before the first stage, and the stages."""

    arguments: list[Instruction]
    stages: list[Stage]
    escape: str


def parse(text: str) -> Dockerfile:
    """Parse a Dockerfile.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    escape = _escape(text)
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    for number, line in _joined(text, escape):
        instruction = parse_line(line, number)
        if instruction.name == "FROM":
            stages.append(_stage(instruction, len(stages)))
        elif stages:
            stages[-1].steps.append(instruction)
        elif instruction.name == "ARG":
            arguments.append(instruction)
        else:
            raise _problem(number, "no build stage in current context")
    if not stages:
        if not arguments:
            raise InvalidArgumentError("the Dockerfile (Dockerfile) cannot be empty")
        raise InvalidArgumentError("dockerfile parse error: no build stage in current context")
    return Dockerfile(arguments, stages, escape)


def parse_line(line: str, number: int) -> Instruction:
    """Parse one whole instruction.

    Raises:
        InvalidArgumentError: If there is no such instruction or flag.
    """
    word, _, rest = line.strip().partition(" ")
    if "\t" in word:
        word, _, rest = line.strip().partition("\t")
    name, rest = word.upper(), rest.strip()
    if name not in _INSTRUCTIONS:
        raise _problem(number, f"unknown instruction: {word}")
    flags: dict[str, str] = {}
    if name in ("FROM", "COPY", "ADD", "RUN"):
        while found := _FLAG.match(rest):
            flags[found[1]] = found[2] or ""
            rest = rest[found.end() :]
    for flag in flags:
        if flag in _BUILDKIT_FLAGS:
            raise InvalidArgumentError(
                f"the --{flag} option requires BuildKit. Refer to "
                "https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit "
                "enabled"
            )
        if flag not in _FLAGS.get(name, set()):
            raise _problem(number, f"unknown flag: --{flag}")
    if not rest:
        raise _problem(number, f"{name} requires at least one argument")
    shown = " ".join([name, *(f"--{key}={value}" for key, value in flags.items()), rest])
    return Instruction(name, rest, number, shown, flags)


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Replace `$name`, `${name}`, `${name:-else}` and `${name:+then}`; single quotes protect.

    Raises:
        InvalidArgumentError: If a substitution is not closed, or of an unknown kind.
    """
    result: list[str] = []
    quote = ""
    position = 0
    while position < len(text):
        letter = text[position]
        if letter == escape and quote != "'" and position + 1 < len(text):
            following = text[position + 1]
            result.append(following if following == "$" else letter + following)
            position += 2
            continue
        if letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
        if letter == "$" and quote != "'":
            value, position = _variable(text, position + 1, variables, escape)
            result.append(value)
            continue
        result.append(letter)
        position += 1
    return "".join(result)


def _variable(
    text: str, position: int, variables: Mapping[str, str], escape: str
) -> tuple[str, int]:
    if text[position : position + 1] != "{":
        name = re.match(r"\w+", text[position:], re.ASCII)
        if name is None:
            return "$", position
        return variables.get(name[0], ""), position + name.end()
    end, depth = position + 1, 1
    while end < len(text) and depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    inner = text[position + 1 : end - 1]
    found = re.fullmatch(r"(\w+)(?:(:?[-+])(.*))?", inner, re.ASCII | re.DOTALL)
    if depth or found is None:
        raise InvalidArgumentError(f"failed to process {text!r}: unsupported modifier")
    value, kind, word = variables.get(found[1]), found[2] or "", found[3] or ""
    is_set = bool(value) if kind.startswith(":") else value is not None
    if kind.endswith("-"):
        return (value or "") if is_set else expand(word, variables, escape), end
    if kind.endswith("+"):
        return expand(word, variables, escape) if is_set else "", end
    return value or "", end


def _escape(text: str) -> str:
    for line in text.splitlines():
        found = _DIRECTIVE.match(line.strip())
        if found is None:
            break
        if found[1].lower() == "escape":
            if found[2] not in ("\\", "`"):
                raise InvalidArgumentError(f"invalid ESCAPE '{found[2]}'. Must be ` or \\")
            return found[2]
    return "\\"


def _joined(text: str, escape: str) -> list[tuple[int, str]]:
    """Return whole instructions with the numbers of their first lines."""
    found: list[tuple[int, str]] = []
    parts: list[str] = []
    first = 0
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = raw.strip() if not parts else raw.rstrip()
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        first = first or number
        if line.endswith(escape):
            parts.append(line[:-1])
            continue
        found.append((first, "".join([*parts, line])))
        parts, first = [], 0
    if parts:
        found.append((first, "".join(parts)))
    return found


def _stage(instruction: Instruction, position: int) -> Stage:
    words = instruction.arguments.split()
    match words:
        case [_]:
            return Stage(instruction, str(position))
        case [_, middle, name] if middle.upper() == "AS":
            if not re.fullmatch(r"[a-z][a-z0-9-_.]*", name.lower()):
                raise _problem(
                    instruction.line,
                    f'invalid name for build stage: "{name}", name can\'t start with a number or '
                    "contain symbols",
                )
            return Stage(instruction, name.lower())
        case _:
            raise _problem(instruction.line, "FROM requires either one or three arguments")


def _problem(line: int, text: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"dockerfile parse error on line {line}: {text}")
