"""COPY and ADD: what they name, and the archive that brings it to where it goes."""

import asyncio
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.dockerfile import exec_form, words
from flotilla_engine.records import ImageRecord
from flotilla_gateway.build import context
from flotilla_gateway.build.containers import BuildContainers
from flotilla_gateway.build.context import Owner
from flotilla_gateway.build.dockerfile import Instruction


@dataclass(frozen=True)
class Asked:
    """What an instruction asks for.

    Attributes:
        name: COPY or ADD.
        patterns: Sources: of the context, or paths of an image.
        target: Absolute; with a slash at the end it is a folder.
        source: The stage or image that the sources are in; empty: the context.
    """

    name: str
    patterns: list[str]
    target: str
    source: str


def asked(instruction: Instruction, arguments: str, working_dir: str) -> Asked:
    """Read an instruction whose arguments are expanded.

    Raises:
        InvalidArgumentError: In the classic builder's words.
    """
    name = instruction.name
    listed = exec_form(arguments) or words(arguments, name)
    if len(listed) < 2:
        raise InvalidArgumentError(f"{name} requires at least two arguments")
    *patterns, target = listed
    is_folder = target.endswith("/") or target in (".", "..")
    target = posixpath.normpath(posixpath.join("/", working_dir, target))
    if is_folder and target != "/":
        target += "/"
    if len(patterns) > 1 and not target.endswith("/"):
        raise InvalidArgumentError(
            f"When using {name} with more than one source file, the destination must be a "
            "directory and end with a /"
        )
    source = instruction.flags.get("from", "")
    for pattern in patterns:
        if name == "ADD" and not source and "://" in pattern:
            raise InvalidArgumentError(f"ADD of a URL is not offered: {pattern}")
    return Asked(name, patterns, target, source)


def of_context(folder: Path, asked: Asked, target: str, owner: Owner) -> IO[bytes]:
    """Return an archive of what is named in the context; blocks, as there may be much of it.

    Raises:
        InvalidArgumentError: If there is no such thing.
    """
    found = [path for one in asked.patterns for path in context.matching(folder, one)]
    is_single_folder = len(found) == 1 and context.inside(folder, found[0]).is_dir()
    if len(found) > 1 and not target.endswith("/"):
        target += "/"
    if is_single_folder:
        target = target.rstrip("/") + "/"
    return context.copied(folder, found, target, owner, extract=asked.name == "ADD")


async def of_image(
    containers: BuildContainers, image: ImageRecord, path: str, target: str, owner: Owner
) -> IO[bytes]:
    """Return an archive of a path in an image."""
    working = await containers.create(image.id, ContainerConfig(cmd=["true"]))
    clean = posixpath.normpath(posixpath.join("/", path))
    is_folder = await containers.is_folder(working, clean)
    with await containers.get(working, clean) as archive:
        return await asyncio.to_thread(
            lambda: context.moved(archive, clean, target, owner, is_folder=is_folder)
        )
