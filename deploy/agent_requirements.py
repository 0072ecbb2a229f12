"""Prints the part of requirements.txt that a host needs: what the agent's distribution asks for.

Run with the Python of .venv, from the root of the tree.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_ROOT = "flotilla-runtime-agent"


def normalized(name: str) -> str:
    """Return a distribution's name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(root: str) -> set[str]:
    """Return the distributions that one asks for, and those that they ask for."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        name = normalized(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:
            found.discard(name)  # asked for on other platforms only
            continue
        for requirement in wanted:
            match = _NAME.match(requirement)
            if match and "extra ==" not in requirement:
                waiting.append(match.group())
    return found


def blocks(text: str) -> list[str]:
    """Return requirements.txt cut into one text for each requirement."""
    return re.findall(r"^[A-Za-z0-9].*(?:\n[ \t].*)*", text, flags=re.MULTILINE)


def main() -> None:
    """Print the pinned requirements of the agent."""
    needed = closure(_ROOT)
    for block in blocks(Path("requirements.txt").read_text()):
        match = _NAME.match(block)
        if match and normalized(match.group()) in needed:
            sys.stdout.write(f"{block}\n")


if __name__ == "__main__":
    main()
