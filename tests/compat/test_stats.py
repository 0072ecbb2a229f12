"""`docker stats` and the fields that it computes from."""

import json
import time

import httpx

from flotilla_testing.clients import Start
from flotilla_testing.fixtures import Docker


def test_one_line_of_the_cli(docker: Docker, start: Start) -> None:
    identifier = start("--memory", "64m")
    template = "{{.ID}}|{{.MemUsage}}|{{.PIDs}}|{{.CPUPerc}}"
    line = docker("stats", "--no-stream", "--format", template, identifier).checked().out
    fields = line.split("|")
    assert identifier.startswith(fields[0])
    assert fields[1].endswith("/ 64MiB")
    assert fields[2] == "1"
    assert fields[3].endswith("%")


def test_busy_container_shows_its_cpu(api: httpx.Client, start: Start) -> None:
    identifier = start(command=("sh", "-c", "while :; do :; done"))
    answer = api.get(f"/containers/{identifier}/stats", params={"stream": "false"})
    document = answer.json()
    before, now = document["precpu_stats"], document["cpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    assert used > 10_000_000
    assert now["system_cpu_usage"] > before["system_cpu_usage"]
    assert now["online_cpus"] >= 1
    assert document["memory_stats"]["usage"] > 0
    assert document["memory_stats"]["limit"] > 0
    assert document["pids_stats"]["current"] >= 1
    assert set(document["networks"]) == {"eth0"}
    assert (document["id"], document["name"][:1]) == (identifier, "/")


def test_one_shot_is_quick_and_has_no_past(api: httpx.Client, start: Start) -> None:
    identifier = start()
    begun = time.monotonic()
    query = {"stream": "false", "one-shot": "true"}
    document = api.get(f"/containers/{identifier}/stats", params=query).json()
    assert document["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert document["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert time.monotonic() - begun < 30


def test_stream_sends_a_line_each_second(api: httpx.Client, start: Start) -> None:
    identifier = start()
    with api.stream("GET", f"/containers/{identifier}/stats") as answer:
        lines = answer.iter_lines()
        documents = [json.loads(next(lines)) for _ in range(2)]
    assert documents[0]["read"] < documents[1]["read"]


def test_stopped_container_has_empty_stats(api: httpx.Client, docker: Docker) -> None:
    docker("create", "--name", "no-stats", "busybox", "true").checked()
    answer = api.get("/containers/no-stats/stats", params={"stream": "false"})
    assert answer.status_code == 200
    assert answer.json()["pids_stats"] == {}
