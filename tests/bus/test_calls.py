"""Tests of calls: flotilla_bus.bus, service, questions and outcomes, on a real nats-server."""

import asyncio

import pytest

from flotilla_bus import Bus, Empty, Message, Method, Notice, Service, connected
from flotilla_core.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    Kind,
    NotFoundError,
    UnavailableError,
    error_of,
)
from flotilla_testing.nats import NatsServer


class Question(Message):
    text: str = ""


class Answer(Message):
    text: str = ""


ECHO = Method("echo", "say.again", Question, Answer)
COUNT = Method("echo", "count", Question, Answer, mutating=True)
NODE_ECHO = Method("agent", "say.again", Question, Answer)
REPORT = Method("echo", "report", Question, Answer, speaker=True)
HELLO = Notice("echo", "hello", Question)
BEAT = Notice("echo", "beat", Question, speaker=True)


async def echo(request: Question) -> Answer:
    return Answer(text=request.text)


async def test_answer_comes_back_typed(caller: Bus, server: Bus) -> None:
    async with Service(server, name="echo") as service:
        service.handle(ECHO, echo)
        await service.ready()
        answer = await caller.call(ECHO, Question(text="grüße\n"))
        assert answer.text == "grüße\n"
    assert caller.open_inboxes == 0


async def test_what_was_asked_of_a_node_is_sent_again(caller: Bus, server: Bus) -> None:
    asked = asyncio.Event()

    async def lost_at_first(_: Question) -> Answer:
        if not asked.is_set():
            asked.set()
            await asyncio.Event().wait()
        return Answer(text="at last")

    async with Service(server, name="agent", node="n1") as service:
        service.handle(NODE_ECHO, lost_at_first)
        await service.ready()
        call = asyncio.create_task(caller.call(NODE_ECHO, Question(), node="n1"))
        await asked.wait()
        caller.ask_again("n2")
        caller.ask_again("n1")
        async with asyncio.timeout(20):
            assert (await call).text == "at last"
    assert server.connections == 1


async def test_node_method_reaches_that_node_alone(caller: Bus, server: Bus) -> None:
    async def name(_: Question) -> Answer:
        return Answer(text="one")

    async with Service(server, name="agent", node="n1") as service:
        service.handle(NODE_ECHO, name)
        await service.ready()
        assert (await caller.call(NODE_ECHO, Question(), node="n1")).text == "one"
        caller.name_of_node = {"n2": "bravo"}.__getitem__
        with pytest.raises(UnavailableError, match="node bravo is not reachable"):
            await _settled(caller, NODE_ECHO, node="n2")


async def _settled(bus: Bus, method: Method[Question, Answer], node: str | None) -> None:
    """Call as if the connection had been up for long: nobody is on the way back any more."""
    bus.connection.last_change -= 3600
    await bus.call(method, Question(), node=node)


async def test_unserved_service_is_unavailable_at_once(caller: Bus) -> None:
    with pytest.raises(UnavailableError, match="service echo is not reachable"):
        await _settled(caller, ECHO, None)


async def test_service_on_its_way_is_waited_for_after_a_reconnect(caller: Bus, server: Bus) -> None:
    asking = asyncio.create_task(caller.call(ECHO, Question(text="late")))
    async with Service(server, name="echo") as service:
        service.handle(ECHO, echo)
        await service.ready()
        assert (await asking).text == "late"


@pytest.mark.parametrize("kind", list(Kind))
async def test_errors_keep_kind_and_message(caller: Bus, server: Bus, kind: Kind) -> None:
    message = 'No such container: "späť"\r\n100 %41 \\'

    async def fail(_: Question) -> Answer:
        raise error_of(kind, message)

    async with Service(server, name="echo") as service:
        service.handle(ECHO, fail)
        await service.ready()
        with pytest.raises(type(error_of(kind, ""))) as caught:
            await caller.call(ECHO, Question())
        assert caught.value.message == message


async def test_bug_is_an_internal_error_without_details(caller: Bus, server: Bus) -> None:
    async def fail(_: Question) -> Answer:
        raise ZeroDivisionError("secret")

    async with Service(server, name="echo") as service:
        service.handle(ECHO, fail)
        await service.ready()
        with pytest.raises(InternalError, match=r"^internal error$"):
            await caller.call(ECHO, Question())


async def test_wrong_request_names_the_field(caller: Bus, server: Bus) -> None:
    class Wrong(Message):
        text: int

    wrong = Method("echo", ECHO.name, Wrong, Answer)
    async with Service(server, name="echo") as service:
        service.handle(ECHO, echo)
        await service.ready()
        with pytest.raises(InvalidArgumentError, match="text"):
            await caller.call(wrong, Wrong(text=1))


async def test_no_answer_in_time_is_deadline_exceeded(caller: Bus, server: Bus) -> None:
    cancelled = asyncio.Event()

    async def sleep(_: Question) -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Answer()

    async with Service(server, name="echo") as service:
        service.handle(ECHO, sleep)
        await service.ready()
        with pytest.raises(DeadlineExceededError, match="service echo did not answer"):
            await caller.call(ECHO, Question(), timeout_s=0.2)
        async with asyncio.timeout(30):
            await cancelled.wait()
    assert caller.open_inboxes == 0


async def test_request_too_large_is_refused(caller: Bus) -> None:
    with pytest.raises(InvalidArgumentError, match="too large"):
        await caller.call(ECHO, Question(text="x" * 9_000_000))


async def test_answer_too_large_is_an_error(caller: Bus, server: Bus) -> None:
    async def large(_: Question) -> Answer:
        return Answer(text="x" * 9_000_000)

    async with Service(server, name="echo") as service:
        service.handle(ECHO, large)
        await service.ready()
        with pytest.raises(InternalError, match="too large"):
            await caller.call(ECHO, Question())


async def test_same_request_id_is_done_once(caller: Bus, server: Bus) -> None:
    done: list[str] = []
    let_go = asyncio.Event()

    async def count(request: Question) -> Answer:
        done.append(request.text)
        await let_go.wait()
        if request.text == "bad":
            raise NotFoundError("No such thing")
        return Answer(text=f"{len(done)}")

    async with Service(server, name="echo") as service:
        service.handle(COUNT, count)
        await service.ready()
        first = asyncio.create_task(caller.call(COUNT, Question(), request_id="a"))
        second = asyncio.create_task(caller.call(COUNT, Question(), request_id="a"))
        await asyncio.sleep(0)
        let_go.set()
        assert [(await first).text, (await second).text] == ["1", "1"]
        assert (await caller.call(COUNT, Question(), request_id="a")).text == "1"
        assert (await caller.call(COUNT, Question())).text == "2"
        for _ in range(2):
            with pytest.raises(NotFoundError):
                await caller.call(COUNT, Question(text="bad"), request_id="b")
        assert done == ["", "", "bad"]


async def test_replicas_share_the_requests(nats: NatsServer, caller: Bus, server: Bus) -> None:
    served: set[str] = set()

    async def one(_: Question) -> Answer:
        served.add("one")
        return Answer()

    async def two(_: Question) -> Answer:
        served.add("two")
        return Answer()

    async with (
        connected(nats.url, name="server") as other,
        Service(server, name="echo") as first,
        Service(other, name="echo") as second,
    ):
        first.handle(COUNT, one)
        second.handle(COUNT, two)
        await first.ready()
        await second.ready()
        async with asyncio.timeout(30):
            while served != {"one", "two"}:
                await caller.call(COUNT, Question())


async def test_speaker_is_the_calling_node(nats: NatsServer, server: Bus) -> None:
    async def who(_: Question, speaker: str) -> Answer:
        return Answer(text=speaker)

    async with (
        connected(nats.url, name="runtime-agent", node="n7") as node,
        Service(server, name="echo") as service,
    ):
        service.handle(REPORT, who)
        await service.ready()
        assert (await node.call(REPORT, Question())).text == "n7"
        with pytest.raises(InvalidArgumentError):
            await server.call(REPORT, Question())


async def test_notices_are_heard_with_their_speaker(nats: NatsServer, server: Bus) -> None:
    async with (
        connected(nats.url, name="runtime-agent", node="n7") as node,
        server.subscribe(HELLO) as hellos,
        server.subscribe(BEAT) as beats,
    ):
        await server.flush()
        await node.publish(HELLO, Question(text="x"))
        await node.publish(BEAT, Question(text="y"))
        async with asyncio.timeout(30):
            hello = await anext(hellos)
            beat = await anext(beats)
        assert (hello.body.text, hello.speaker) == ("x", "")
        assert (beat.body.text, beat.speaker) == ("y", "n7")


async def test_call_under_way_outlives_a_server_restart(
    nats: NatsServer, caller: Bus, server: Bus
) -> None:
    began = asyncio.Event()
    let_go = asyncio.Event()
    done: list[str] = []

    async def count(request: Question) -> Answer:
        done.append(request.text)
        began.set()
        await let_go.wait()
        return Answer(text="done")

    async with Service(server, name="echo") as service:
        service.handle(COUNT, count)
        await service.ready()
        call = asyncio.create_task(caller.call(COUNT, Question(text="once")))
        await began.wait()
        await nats.kill()
        let_go.set()
        await nats.start()
        assert (await call).text == "done"
        assert done == ["once"]


async def test_bus_works_before_its_server_does(nats: NatsServer) -> None:
    await nats.kill()
    async with (
        connected(nats.url, name="caller", patience_s=0) as caller,
        connected(nats.url, name="server", patience_s=0) as server,
        Service(server, name="echo") as service,
    ):
        service.handle(ECHO, echo)
        with pytest.raises(UnavailableError, match="message bus"):
            await caller.call(ECHO, Question(), timeout_s=0.1)
        call = asyncio.create_task(caller.call(ECHO, Question(text="at last")))
        await nats.start()
        assert (await call).text == "at last"


async def test_handlers_end_with_their_service(caller: Bus, server: Bus) -> None:
    began = asyncio.Event()
    ended = asyncio.Event()

    async def sleep(_: Empty) -> Empty:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Empty()

    method = Method("echo", "sleep", Empty, Empty)
    async with Service(server, name="echo") as service:
        service.handle(method, sleep)
        await service.ready()
        call = asyncio.create_task(caller.call(method, Empty()))
        await began.wait()
    assert ended.is_set()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
