"""Handlers of streams: attach, exec, logs, wait."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from flotilla_bus import Accept, Empty, Service, Stream
from flotilla_bus.contracts import agent
from flotilla_core.errors import ConflictError, FlotillaError
from flotilla_engine.detach_keys import parse_keys
from flotilla_runtime_agent import sessions
from flotilla_runtime_agent.containers.container import Container
from flotilla_runtime_agent.containers.containers import Containers
from flotilla_runtime_agent.containers.exec import Exec
from flotilla_runtime_agent.containers.host import Host
from flotilla_runtime_agent.containers.waits import Exit
from flotilla_runtime_agent.logs.records import Renderer, frame, stamp_of
from flotilla_runtime_agent.runtime.attach import Subscription


class Streams:
    """Handlers that hold a stream."""

    def __init__(self, host: Host, containers: Containers) -> None:
        """Serve these containers."""
        self._host = host
        self._containers = containers

    def register(self, service: Service) -> None:
        """Serve."""
        service.handle_stream(agent.WAIT, self.wait)
        service.handle_stream(agent.ATTACH, self.attach)
        service.handle_stream(agent.LOGS, self.logs)
        service.handle(agent.EXEC_CREATE, self.exec_create)
        service.handle(agent.EXEC_INSPECT, self.exec_inspect)
        service.handle(agent.EXEC_START_DETACHED, self.exec_start_detached)
        service.handle_stream(agent.EXEC_START, self.exec_start)

    async def wait(self, request: agent.WaitRequest, accept: Accept[Empty]) -> None:
        """``container.wait``."""
        container = self._containers.get(request.container)
        waiting = _registered(container, request.condition)
        stream = await accept(Empty())
        try:
            outcome = await waiting
        finally:
            waiting.cancel()
        answer = agent.WaitOutcome(status_code=outcome.code, error=outcome.error)
        await stream.write(answer.model_dump_json().encode())

    async def attach(
        self, request: agent.AttachRequest, accept: Accept[agent.StreamAnswer]
    ) -> None:
        """``container.attach``."""
        container = self._containers.get(request.container)
        state, config = container.record.state, container.record.config
        for is_in_the_way, how, what in (
            (state.paused, "paused", "unpause the container"),
            (state.restarting, "restarting", "wait until the container is running"),
        ):
            if is_in_the_way:
                raise ConflictError(
                    f"container {container.id} is {how}, {what} before attach"
                    if how == "paused"
                    else f"container {container.id} is {how}, {what}"
                )
        keys = parse_keys(request.detach_keys)
        mux = request.mux and not config.tty
        process = container.broadcast
        output = (
            process.subscribe(stdout=request.stdout, stderr=request.stderr)
            if request.stream
            else None
        )
        try:
            stream = await accept(agent.StreamAnswer(tty=config.tty))
            container.event("attach")
            if request.logs:
                await self._replay(container, stream, request, mux=mux)
            if output is None:
                return
            session = sessions.Session(
                mux=mux,
                stdin=request.stdin and config.open_stdin,
                closes_stdin=config.stdin_once and not config.tty,
                keys=keys if config.tty else b"",
            )
            if await sessions.run(session, stream, output, process):
                container.event("detach")
        finally:
            if output is not None:
                output.close()

    async def _replay(
        self, container: Container, stream: Stream, request: agent.AttachRequest, *, mux: bool
    ) -> None:
        renderer = Renderer(mux=mux, stdout=request.stdout, stderr=request.stderr)
        async with aclosing(container.logs.read(renderer)) as log:
            async for data in log:
                await stream.write(data)

    async def logs(self, request: agent.LogsRequest, accept: Accept[agent.StreamAnswer]) -> None:
        """``container.logs``."""
        container = self._containers.get(request.container)
        container.logs.check_readable()
        tty = container.record.config.tty
        renderer = Renderer(
            mux=not tty,
            stdout=request.stdout,
            stderr=request.stderr,
            timestamps=request.timestamps,
            details=container.logs.details() if request.details else b"",
            since=stamp_of(request.since_ns) if request.since_ns > 0 else b"",
            until=stamp_of(request.until_ns) if request.until_ns > 0 else b"",
        )
        stream = await accept(agent.StreamAnswer(tty=tty))
        until_s = request.until_ns / 1e9 if request.until_ns > 0 else None
        lines = container.logs.read(
            renderer, tail=request.tail, follow=request.follow, until_s=until_s
        )
        async with aclosing(lines):
            async for data in lines:
                await stream.write(data)

    async def exec_create(self, request: agent.ExecCreateRequest) -> agent.ExecAnswer:
        """``exec.create``."""
        container = self._containers.get(request.container)
        created = container.execs.create(request.exec_id, request.config)
        container.execs.get_ready(created)
        return agent.ExecAnswer(record=created.record)

    async def exec_inspect(self, request: agent.ExecRequest) -> agent.ExecAnswer:
        """``exec.inspect``."""
        return agent.ExecAnswer(record=self._exec(request).record)

    def _exec(self, request: agent.ExecRequest) -> Exec:
        return self._containers.get(request.container).execs.get(request.exec_id)

    async def exec_start_detached(self, request: agent.ExecStartRequest) -> Empty:
        """``exec.start``."""
        started = self._exec(request)
        started.claim()
        tty = request.tty or started.record.config.tty
        await started.start(tty=tty, size=_size(request, started))
        return Empty()

    async def exec_start(
        self, request: agent.ExecStartRequest, accept: Accept[agent.StreamAnswer]
    ) -> None:
        """``exec.attach``."""
        started = self._exec(request)
        config = started.record.config
        keys = parse_keys(request.detach_keys or config.detach_keys)
        started.claim()
        tty = config.tty
        mux = request.mux and not tty
        output = started.broadcast.subscribe(
            stdout=config.attach_stdout, stderr=config.attach_stderr
        )
        # A client that leaves now does not take the process with it.
        starting = asyncio.ensure_future(started.start(tty=tty, size=_size(request, started)))
        try:
            stream = await accept(agent.StreamAnswer(tty=tty))
            session = sessions.Session(
                mux=mux,
                stdin=config.attach_stdin,
                closes_stdin=not tty,
                keys=keys if tty else b"",
            )
            await self._joined(session, stream, started, output, starting)
        finally:
            output.close()
            starting.add_done_callback(_seen)

    async def _joined(
        self,
        session: sessions.Session,
        stream: Stream,
        started: Exec,
        output: Subscription,
        starting: asyncio.Future[None],
    ) -> None:
        has_detached = await sessions.run(session, stream, output, started.broadcast)
        if has_detached:
            started.event("exec_detach")
            return
        try:
            await asyncio.shield(starting)
        except FlotillaError as error:
            text = f"{error.message}\r\n".encode()
            await stream.write(frame(1, text) if session.mux else text)
            return
        if session.stdin and not session.closes_stdin and not started.broadcast.is_over:
            return  # a terminal's client has closed its input
        await started.ended.wait()  # its exit code can be asked for as soon as the stream ends


def _seen(starting: asyncio.Future[None]) -> None:
    if not starting.cancelled():
        starting.exception()


def _size(request: agent.ExecStartRequest, started: Exec) -> list[int] | None:
    return request.console_size or started.record.config.console_size


def _registered(container: Container, condition: str) -> asyncio.Future[Exit]:
    if condition == "removed":
        return container.waits.removal()
    if condition == "next-exit" or container.record.state.running:
        return container.waits.exit()
    future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
    future.set_result(Exit(container.record.state.exit_code))
    return future
