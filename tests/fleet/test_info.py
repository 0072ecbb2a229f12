"""`docker info` on two hosts: totals of the fleet, and a block for each node."""

from flotilla_testing.fixtures import Docker


def test_info_has_a_block_for_each_node_and_counts_their_containers(docker: Docker) -> None:
    for host in ("host1", "host2"):
        docker(
            "run", "-d", "--label", f"flotilla.node={host}", "busybox", "sleep", "1000"
        ).checked()
    shown = docker("info").checked().lines
    words = [line.strip() for line in shown]
    assert "Nodes: 2" in words
    assert words.count("└ Status: Healthy") == 2
    assert words.count("└ Containers: 1 (1 running)") == 2
    assert [word.partition(":")[0] for word in words if word.startswith("host")] == [
        "host1",
        "host2",
    ]
    assert docker("info", "-f", "{{.Containers}} {{.ContainersRunning}}").out == "2 2"
