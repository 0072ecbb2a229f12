"""Carries out a Dockerfile: each instruction makes an image, taken from earlier builds if equal."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from flotilla_bus import Bus
from flotilla_bus.contracts import images as store
from flotilla_bus.contracts import registry
from flotilla_core.errors import FlotillaError, InternalError, InvalidArgumentError, NotFoundError
from flotilla_engine import progress
from flotilla_engine.config import ContainerConfig
from flotilla_engine.dockerfile import apply_instruction, exec_form, words
from flotilla_engine.records import ImageRecord
from flotilla_gateway.build import bases, context, copying
from flotilla_gateway.build.bases import Say
from flotilla_gateway.build.containers import BuildContainers, Working
from flotilla_gateway.build.context import Owner
from flotilla_gateway.build.copying import Asked
from flotilla_gateway.build.dockerfile import (
    EXPANDED,
    Dockerfile,
    Instruction,
    Stage,
    expand,
    parse_line,
)
from flotilla_oci.references import Reference

_SHELL = ["/bin/sh", "-c"]
_SHORT = 12
_PREDEFINED = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)


class BuildFailedError(InternalError):
    """A command of the Dockerfile failed.

    Attributes:
        code: Its exit code.
    """

    def __init__(self, message: str, code: int) -> None:
        """Say which, and its exit code."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Options:
    """What the client asked for."""

    tags: list[Reference] = field(default_factory=list)
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    uses_cache: bool = True
    pulls: bool = False
    removes: bool = True
    removes_after_failure: bool = False
    is_quiet: bool = False
    credentials: Mapping[str, registry.Credentials] = field(default_factory=dict)


@dataclass
class _State:
    """A stage under way."""

    image: ImageRecord
    config: ContainerConfig
    arguments: dict[str, str] = field(default_factory=dict)
    """Values of the stage's ARG instructions."""

    def variables(self) -> dict[str, str]:
        """Return what instructions may use."""
        env = (one.partition("=") for one in self.config.env)
        return self.arguments | {name: value for name, _, value in env}


class Builder:
    """One build."""

    def __init__(
        self, bus: Bus, containers: BuildContainers, folder: Path, options: Options, say: Say
    ) -> None:
        """Build from the context in `folder`, and say how it goes."""
        self._bus = bus
        self._containers = containers
        self._folder = folder
        self._options = options
        self._say_line = say
        self._is_cached = options.uses_cache
        self._consumed: set[str] = set()
        self._stages: dict[str, ImageRecord] = {}
        self._step = 0
        self._steps = 0

    async def run(self, dockerfile: Dockerfile) -> str:
        """Build, name the image, and return its id.

        Raises:
            FlotillaError: In the classic builder's words, if it fails.
        """
        is_kept = not self._options.removes_after_failure
        try:
            image = await self._build(dockerfile)
            is_kept = not self._options.removes
        except asyncio.CancelledError:
            is_kept = False
            raise
        finally:
            if not is_kept:
                for container_id in list(self._containers.intermediate):
                    await self._containers.remove(container_id)
        unused = sorted(set(self._options.arguments) - self._consumed - _PREDEFINED)
        if unused:
            names = " ".join(unused)
            await self._say(f"[Warning] One or more build-args [{names}] were not consumed\n")
        await self._say_line(progress.aux({"ID": image.id}))
        if self._options.is_quiet:
            await self._say_line(progress.stream(f"{image.id}\n"))
        await self._say(f"Successfully built {_short(image.id)}\n")
        for tag in self._options.tags:
            await self._bus.call(store.TAG, store.TagRequest(source=image.id, target=str(tag)))
            await self._say(f"Successfully tagged {tag.familiar}\n")
        return image.id

    async def _build(self, dockerfile: Dockerfile) -> ImageRecord:
        stages = self._wanted(dockerfile)
        self._steps = len(dockerfile.arguments) + sum(1 + len(one.steps) for one in stages)
        self._steps += 1 if self._options.labels else 0
        globals_: dict[str, str] = {}
        for instruction in dockerfile.arguments:
            await self._say_step(instruction)
            self._argument(instruction, globals_, globals_, dockerfile.escape)
        image: ImageRecord | None = None
        for position, stage in enumerate(stages):
            is_last = position == len(stages) - 1
            state = await self._begin(stage, globals_, dockerfile.escape)
            for instruction in stage.steps:
                await self._say_step(instruction)
                await self._carry_out(state, instruction, globals_, dockerfile.escape)
            if is_last and self._options.labels:
                await self._label(state)
            image = state.image
            self._stages[str(position)] = self._stages[stage.name] = image
        assert image is not None
        return image

    def _wanted(self, dockerfile: Dockerfile) -> list[Stage]:
        target = self._options.target.lower()
        if not target:
            return dockerfile.stages
        for position, stage in enumerate(dockerfile.stages):
            if target in (stage.name, str(position)):
                return dockerfile.stages[: position + 1]
        raise InvalidArgumentError(
            f"failed to reach build target {self._options.target} in Dockerfile"
        )

    async def _begin(self, stage: Stage, globals_: dict[str, str], escape: str) -> _State:
        await self._say_step(stage.base)
        name = expand(stage.base.arguments.split()[0], globals_, escape).strip("\"'")
        if not name:
            raise InvalidArgumentError(f"base name ({stage.base.arguments}) should not be blank")
        platform = expand(stage.base.flags.get("platform", ""), globals_, escape)
        image = self._stages.get(name.lower())
        if image is None:
            image = await self._base(name, platform or self._options.platform)
        await self._say(f" ---> {_short(image.id)}\n")
        config = image.config.model_copy(deep=True)
        state = _State(image, config)
        triggers, config.on_build = config.on_build, []
        if triggers:
            plural = "s" if len(triggers) > 1 else ""
            await self._say(f"# Executing {len(triggers)} build trigger{plural}\n")
        for trigger in triggers:
            await self._carry_out(state, parse_line(trigger, 0), globals_, escape)
        return state

    async def _base(self, name: str, platform: str) -> ImageRecord:
        if name == "scratch":
            return await bases.scratch(self._bus)
        if not self._options.pulls:
            try:
                return await bases.known(self._bus, name, platform)
            except NotFoundError:
                pass
        say = _silent if self._options.is_quiet else self._say_line
        await bases.pull(self._bus, name, platform, self._options.credentials, say)
        return await bases.known(self._bus, name, platform)

    async def _carry_out(
        self, state: _State, instruction: Instruction, globals_: dict[str, str], escape: str
    ) -> None:
        arguments = instruction.arguments
        if instruction.name in EXPANDED:
            arguments = expand(arguments, state.variables(), escape)
        match instruction.name:
            case "ARG":
                self._argument(instruction, state.arguments, globals_, escape)
                await self._configure(state, instruction, arguments)
            case "RUN":
                await self._run(state, arguments)
            case "COPY" | "ADD":
                await self._copy(state, instruction, arguments, escape)
            case "MAINTAINER":
                await self._configure(state, instruction, arguments)
            case name:
                state.config = apply_instruction(state.config, name.lower(), arguments)
                if name == "ENTRYPOINT" and state.config.cmd == state.image.config.cmd:
                    state.config.cmd = None
                await self._configure(state, instruction, arguments)

    def _argument(
        self,
        instruction: Instruction,
        values: dict[str, str],
        globals_: Mapping[str, str],
        escape: str,
    ) -> None:
        for word in words(instruction.arguments, "ARG"):
            name, equals, default = word.partition("=")
            if name in self._options.arguments:
                values[name] = self._options.arguments[name]
                self._consumed.add(name)
            elif equals:
                values[name] = expand(default, values, escape)
            elif name in globals_:
                values[name] = globals_[name]

    async def _configure(self, state: _State, instruction: Instruction, arguments: str) -> None:
        created_by = f"/bin/sh -c #(nop)  {instruction.name} {arguments}"
        await self._finish(state, created_by, None)

    async def _label(self, state: _State) -> None:
        labels = dict(self._options.labels)
        state.config.labels = {**state.config.labels, **labels}
        text = " ".join(f"{key}={value}" for key, value in sorted(labels.items()))
        await self._say_step(Instruction("LABEL", text, 0, f"LABEL {text}"))
        await self._finish(state, f"/bin/sh -c #(nop)  LABEL {text}", None)

    async def _run(self, state: _State, arguments: str) -> None:
        command = exec_form(arguments) or [*(state.config.shell or _SHELL), arguments]
        values = state.arguments | {
            name: value for name, value in self._options.arguments.items() if name in _PREDEFINED
        }
        names = {one.partition("=")[0] for one in state.config.env}
        env = [f"{name}={value}" for name, value in sorted(values.items()) if name not in names]
        created_by = " ".join(([f"|{len(env)}", *env] if env else []) + command)
        if await self._from_cache(state, created_by):
            return
        config = state.config.model_copy(deep=True)
        config.cmd, config.entrypoint, config.healthcheck = command, [""], None
        config.env = [*config.env, *env]
        working = await self._containers.create(state.image.id, config, self._options.platform)
        await self._say(f" ---> Running in {_short(working.id)}\n")
        async for part in self._containers.run(working):
            if isinstance(part, bytes):
                await self._say(part.decode("utf-8", "replace"))
            elif part:
                shown = " ".join(command)
                raise BuildFailedError(
                    f"The command '{shown}' returned a non-zero code: {part}", part
                )
        await self._finish(state, created_by, working, is_looked_up=True)

    async def _copy(
        self, state: _State, instruction: Instruction, arguments: str, escape: str
    ) -> None:
        asked = copying.asked(instruction, arguments, state.config.working_dir)
        working = await self._containers.create(
            state.image.id, state.config.model_copy(update={"cmd": ["true"]})
        )
        target = asked.target
        if not target.endswith("/") and await self._containers.is_folder(working, target):
            target += "/"
        chown = expand(instruction.flags.get("chown", ""), state.variables(), escape)
        owner = Owner(*await self._containers.numbers(working, chown)) if chown else Owner()
        kind = "multi" if len(asked.patterns) > 1 else "file"
        for archive in await self._archives(asked, target, owner):
            with archive:
                digest = await asyncio.to_thread(context.digest_of, archive)
                created_by = f"/bin/sh -c #(nop) {asked.name} {kind}:{digest} in {target} "
                if await self._from_cache(state, created_by):
                    continue
                await self._containers.put(working, archive)
                await self._finish(state, created_by, working, is_looked_up=True)

    async def _archives(self, asked: Asked, target: str, owner: Owner) -> list[IO[bytes]]:
        if not asked.source:
            of_context = copying.of_context
            return [await asyncio.to_thread(of_context, self._folder, asked, target, owner)]
        image = self._stages.get(asked.source.lower()) or await self._base(asked.source, "")
        return [
            await copying.of_image(self._containers, image, path, target, owner)
            for path in asked.patterns
        ]

    async def _finish(
        self,
        state: _State,
        created_by: str,
        working: Working | None,
        *,
        is_looked_up: bool = False,
    ) -> None:
        """Make the step's image, unless an earlier build has made it."""
        if not is_looked_up and await self._from_cache(state, created_by):
            return
        state.image = await self._containers.commit(
            state.image.id, state.config, created_by, working
        )
        if working is not None and self._options.removes:
            await self._containers.remove(working.id)
            await self._say(f" ---> Removed intermediate container {_short(working.id)}\n")
        await self._say(f" ---> {_short(state.image.id)}\n")

    async def _from_cache(self, state: _State, created_by: str) -> bool:
        if not self._is_cached:
            return False
        answer = await self._bus.call(store.LIST, store.ListRequest(all=True))
        for listed in answer.images:
            if listed.image.parent != state.image.id:
                continue
            asked = store.ImageRequest(reference=listed.image.id)
            try:
                history = await self._bus.call(store.HISTORY, asked)
            except FlotillaError:
                continue
            if history.entries and history.entries[0].created_by == created_by:
                state.image = listed.image
                state.config = listed.image.config.model_copy(deep=True)
                await self._say(" ---> Using cache\n")
                await self._say(f" ---> {_short(state.image.id)}\n")
                return True
        self._is_cached = False
        return False

    async def _say_step(self, instruction: Instruction) -> None:
        self._step += 1
        await self._say(f"Step {self._step}/{self._steps} : {instruction.text}\n")

    async def _say(self, text: str) -> None:
        if not self._options.is_quiet:
            await self._say_line(progress.stream(text))


async def _silent(_: bytes) -> None:
    """Say nothing."""


def _short(digest: str) -> str:
    return digest.rpartition(":")[2][:_SHORT]
