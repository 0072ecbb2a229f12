"""`docker run` as users know it: exit codes, streams, names, removal."""

import re

import pytest

from flotilla_testing.clients import Start, eventually
from flotilla_testing.engines import Engine
from flotilla_testing.fixtures import Docker


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("busybox", "true"), 0, ""),
        (("busybox", "sh", "-c", "exit 3"), 3, ""),
        (("busybox", "false"), 1, ""),
        (("--name", "a b", "busybox", "true"), 125, "Invalid container name (a b)"),
        (("--memory", "5m", "busybox", "true"), 125, "Minimum memory limit allowed is 6MB"),
        (("busybox", "/etc/passwd"), 126, "permission denied"),
        (("busybox", "/nonexistent"), 127, "no such file or directory"),
        (("busybox", "nonexistent"), 127, 'exec: "nonexistent": executable file not found'),
    ],
)
def test_exit_code_tells_what_happened(
    docker: Docker, arguments: tuple[str, ...], code: int, text: str
) -> None:
    result = docker("run", "--rm", *arguments)
    assert result.code == code
    assert text in result.stderr


def test_killed_container_exits_with_137(engine: Engine, docker: Docker, start: Start) -> None:
    start("--name", "victim")
    client = engine.popen(["wait", "victim"])
    try:
        docker("kill", "victim").checked()
        assert client.communicate(timeout=30)[0] == b"137\n"
    finally:
        client.kill()
        client.communicate()


def test_missing_workdir_is_made_and_missing_user_is_an_error(docker: Docker) -> None:
    assert docker("run", "--rm", "-w", "/new/dir", "busybox", "pwd").out == "/new/dir"
    result = docker("run", "--rm", "-u", "nobody-such", "busybox", "true")
    assert result.code == 126 or result.code == 125
    assert "unable to find user nobody-such: no matching entries in passwd file" in result.stderr


def test_output_and_errors_stay_apart(docker: Docker) -> None:
    result = docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_piped_input_ends_with_half_close_and_output_follows(docker: Docker) -> None:
    script = "cat >/tmp/in; wc -c </tmp/in; md5sum </tmp/in"
    data = bytes(range(256)) * 8192  # 2 MiB
    result = docker("run", "--rm", "-i", "busybox", "sh", "-c", script, stdin=data)
    assert result.checked().lines[0].strip() == str(len(data))


def test_big_output_of_cat_comes_whole(docker: Docker) -> None:
    data = "0123456789abcde\n" * 65536  # 1 MiB
    result = docker("run", "--rm", "-i", "busybox", "cat", stdin=data)
    assert result.checked().stdout == data


def test_input_is_not_read_without_i(docker: Docker) -> None:
    assert docker("run", "--rm", "busybox", "cat", stdin="ignored").checked().stdout == ""


def test_rm_leaves_nothing_after_a_failed_start_either(docker: Docker) -> None:
    for options in (("--network", "none-such"), ("--entrypoint", "/none-such")):
        result = docker("run", "--rm", "--name", "never", *options, "busybox", "true")
        assert result.code in (125, 127)
        eventually(lambda: docker("ps", "-aq", "--filter", "name=^never$").out == "")


def test_rm_leaves_nothing(docker: Docker) -> None:
    before = docker("volume", "ls", "-q").lines
    docker("run", "--rm", "--name", "gone", "-v", "/anonymous", "busybox", "true").checked()
    assert docker("ps", "-aq", "--filter", "name=^gone$").out == ""
    eventually(lambda: not set(docker("volume", "ls", "-q").lines) - set(before))


def test_a_name_can_be_used_once(docker: Docker, start: Start) -> None:
    first = start("--name", "only-one")
    again = docker("run", "-d", "--name", "only-one", "busybox", "true")
    assert again.code == 125
    assert (
        f'The container name "/only-one" is already in use by container "{first}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    ) in again.stderr


def test_detached_run_prints_the_id(docker: Docker) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}\n", docker("run", "-d", "busybox", "true").stdout)


def test_containers_are_found_by_name_and_by_unique_prefix(docker: Docker, start: Start) -> None:
    identifier = start("--name", "findme")
    for reference in ("findme", "/findme", identifier, identifier[:12]):
        assert docker("inspect", "-f", "{{.Id}}", reference).out == identifier
    missing = docker("inspect", "--type", "container", "no-such-thing")
    assert missing.code == 1
    assert "No such container: no-such-thing" in missing.stderr


def test_image_that_nobody_has_is_an_error_with_dockers_text(docker: Docker) -> None:
    result = docker("run", "--rm", "--pull", "never", "no-such-image:1", "true")
    assert result.code == 125
    assert "No such image: no-such-image:1" in result.stderr


def test_start_attached_replays_nothing_and_gives_the_exit_code(docker: Docker) -> None:
    script = "read line; echo got $line; exit 7"
    docker("create", "-i", "--name", "starter", "busybox", "sh", "-c", script).checked()
    result = docker("start", "-ai", "starter", stdin="hello\n")
    assert (result.code, result.stdout) == (7, "got hello\n")


def test_attach_several_clients_at_once(engine: Engine, docker: Docker, start: Start) -> None:
    start("--name", "many", "-i", command=("sh", "-c", "read go; echo said $go; sleep 0.2"))
    clients = [engine.popen(["attach", "--no-stdin", "many"]) for _ in range(3)]
    try:
        docker("exec", "many", "sleep", "1").checked()  # the clients attach meanwhile
        docker("attach", "--sig-proxy=false", "many", stdin="now\n")
        outputs = [client.communicate(timeout=30)[0] for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    assert outputs == [b"said now\n"] * 3
