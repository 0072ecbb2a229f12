"""Attach over a web socket, which browsers' terminals use."""

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, unix_connect
from websockets.typing import Origin

from flotilla_testing.clients import DEADLINE_S
from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker

QUERY = "stream=1&stdin=1&stdout=1&stderr=1&logs=1"


def _attached(engine: Engine, container: str) -> ClientConnection:
    path = engine.host.removeprefix("unix://")
    uri = f"ws://localhost/v1.44/containers/{container}/attach/ws?{QUERY}"
    origin = Origin("http://localhost")  # asked for by dockerd
    return unix_connect(path, uri, open_timeout=DEADLINE_S, origin=origin)


def _read_until(socket: ClientConnection, end: bytes) -> bytes:
    received = b""
    while end not in received:
        message = socket.recv(timeout=DEADLINE_S)
        assert isinstance(message, bytes)
        received += message
    return received


def test_input_and_output_are_binary_frames(engine: Engine, docker: Docker) -> None:
    command = ("sh", "-c", "echo start; read line; echo got $line")
    container = docker("run", "-d", "-i", "busybox", *command).out
    with _attached(engine, container) as socket:
        assert _read_until(socket, b"start\n") == b"start\n"
        socket.send(b"something\n")
        assert _read_until(socket, b"something\n").endswith(b"got something\n")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=DEADLINE_S)


def test_an_unknown_container_is_told_before_the_handshake(engine: Engine) -> None:
    with pytest.raises(InvalidStatus) as raised:
        _attached(engine, "nosuch")
    response = raised.value.response
    assert response.status_code == 404
    assert response.headers["Ostype"] == "linux"
    assert b"No such container: nosuch" in response.body
