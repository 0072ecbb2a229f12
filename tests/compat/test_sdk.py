"""docker-py, the SDK that most Python programs use."""

import gc
import io
import tarfile
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound

from flotilla_testing.clients import eventually


@pytest.fixture(autouse=True)
def _sockets() -> Iterator[None]:
    """Collect the sockets that docker-py leaves open here, where nobody minds."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_run_returns_the_output(client: Any) -> None:
    output = client.containers.run("busybox", ["echo", "hello"], remove=True)
    assert output == b"hello\n"


def test_failed_run_raises_with_the_error_output(client: Any) -> None:
    with pytest.raises(ContainerError) as caught:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 2"], remove=True)
    assert caught.value.exit_status == 2
    assert "bad" in str(caught.value.stderr)


def test_missing_things_are_not_found(client: Any) -> None:
    with pytest.raises(NotFound):
        client.containers.get("none-such")
    with pytest.raises(ImageNotFound):
        client.images.get("none-such:1")
    with pytest.raises(NotFound):
        client.networks.get("none-such")
    with pytest.raises(NotFound):
        client.volumes.get("none-such")


def test_container_life(client: Any) -> None:
    container = client.containers.run(
        "busybox", ["sleep", "1000"], detach=True, name="py-life", labels={"py": "1"},
        environment={"A": "b"}, mem_limit="64m", restart_policy={"Name": "no"},
    )  # fmt: skip
    assert container.status in ("created", "running")
    container.reload()
    assert container.status == "running"
    assert [found.name for found in client.containers.list(filters={"label": "py"})] == ["py-life"]
    code, output = container.exec_run(["sh", "-c", "echo $A"])
    assert (code, output) == (0, b"b\n")
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.update(cpu_shares=100)
    container.rename("py-renamed")
    container.stop(timeout=0)
    assert container.wait()["StatusCode"] == 137
    container.remove()
    with pytest.raises(NotFound):
        client.containers.get("py-renamed")


def test_exec_streams_are_demultiplexed(client: Any) -> None:
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True)
    _, output = container.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
    assert output == (b"out\n", b"err\n")
    chunks = container.exec_run(["seq", "1", "1000"], stream=True).output
    assert b"".join(chunks).split()[-1] == b"1000"


def test_attach_socket_carries_both_directions(client: Any) -> None:
    container = client.containers.create("busybox", ["cat"], stdin_open=True, tty=True)
    query = {"stdin": 1, "stdout": 1, "stream": 1}
    connection = container.attach_socket(params=query)
    container.start()
    connection._sock.settimeout(30)
    connection._sock.sendall(b"hi\n")
    received = b""
    while received.count(b"hi") < 2:
        received += connection._sock.recv(100)
    connection._sock.close()
    connection.close()
    container.remove(force=True)


def test_logs_can_be_followed(client: Any) -> None:
    script = "for i in 1 2 3; do echo $i; sleep 0.1; done"
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True)
    assert b"".join(container.logs(stream=True, follow=True)) == b"1\n2\n3\n"
    assert container.logs(tail=1) == b"3\n"


def test_archives_go_in_and_out(client: Any) -> None:
    container = client.containers.create("busybox", ["true"])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("file")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert container.put_archive("/tmp", buffer.getvalue())
    chunks, stat = container.get_archive("/tmp/file")
    assert (stat["name"], stat["size"]) == ("file", 3)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        member = archive.extractfile("file")
        assert member is not None
        assert member.read() == b"abc"


def test_networks_and_volumes(client: Any) -> None:
    network = client.networks.create("py-net", driver="bridge", labels={"py": "1"})
    volume = client.volumes.create("py-vol", labels={"py": "1"})
    server = client.containers.run(
        "busybox", ["sleep", "1000"], detach=True, name="py-server", network="py-net",
        volumes={"py-vol": {"bind": "/v", "mode": "rw"}},
    )  # fmt: skip
    assert server.exec_run(["touch", "/v/file"]).exit_code == 0
    looked_up = client.containers.run(
        "busybox", ["ping", "-c", "1", "-W", "10", "py-server"], network="py-net", remove=True
    )
    assert b"1 packets received" in looked_up
    network.reload()
    assert [member.name for member in network.containers] == ["py-server"]
    with pytest.raises(APIError, match="has active endpoints"):
        network.remove()
    with pytest.raises(APIError, match="volume is in use"):
        volume.remove()
    network.disconnect(server)
    server.remove(force=True)
    network.remove()
    volume.remove()


def test_events_are_seen(client: Any) -> None:
    seen = client.events(decode=True, filters={"label": "py-events"}, since=1)
    client.containers.run("busybox", ["true"], labels={"py-events": ""}, remove=True)
    actions = []
    for event in seen:
        actions.append(event["Action"])
        if event["Action"] == "destroy":
            break
    seen.close()
    assert [action for action in actions if action in ("create", "start", "die", "destroy")] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip


def test_engine_is_described(client: Any) -> None:
    assert client.ping()
    assert client.version()["ApiVersion"]
    info = client.info()
    assert info["OSType"] == "linux"
    eventually(lambda: client.info()["Containers"] >= 0)
    assert "busybox:latest" in [tag for image in client.images.list() for tag in image.tags]
