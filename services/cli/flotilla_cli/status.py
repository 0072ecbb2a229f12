"""Says how a stack is: its services, its hosts, where to reach it."""

import time
from collections.abc import Iterator
from pathlib import Path

from flotilla_cli import gateway, processes, services, simulation
from flotilla_cli.failure import CommandError
from flotilla_cli.stack import Stack
from flotilla_engine.records import NodeRecord

_PAGE_MIB = 4096 / 2**20


def lines(stack: Stack) -> Iterator[str]:
    """Yield the report, line by line."""
    yield f"stack {stack.name} in {stack.data_dir}"
    yield f"reach it at {', '.join(endpoints(stack))}"
    yield ""
    yield _row("SERVICE", "STATE", "PID", "MEMORY", "UP")
    running = 0
    for name in services.names(stack):
        pid = services.service(stack, name).process.pid()
        if pid is None:
            yield _row(name, "down", "", "", "")
        else:
            running += 1
            yield _row(name, "up", str(pid), f"{_memory_mib(pid):.0f} MiB", _age(pid))
    yield ""
    yield from _host_lines(stack, asked=running > 0)


def endpoints(stack: Stack) -> list[str]:
    """Return the addresses for DOCKER_HOST."""
    return [*stack.listen, f"unix://{stack.socket}"]


def invitations(stack: Stack) -> Iterator[str]:
    """Yield a docker command for each endpoint."""
    for endpoint in endpoints(stack):
        if endpoint.startswith("tls://"):
            host = endpoint.replace("tls://", "tcp://", 1)
            yield f"DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={stack.tls_dir} docker --host {host} ps"
        else:
            yield f"docker --host {endpoint} ps"


def _host_lines(stack: Stack, asked: bool) -> Iterator[str]:
    problem = ""
    nodes: dict[str, NodeRecord] = {}
    if asked:
        try:
            nodes = {node.name: node for node in gateway.nodes(stack)}
        except CommandError as error:
            problem = str(error)
    yield _row("HOST", "NODE", "ADDRESS", "CUT OFF", "NODE ID")
    for host in stack.hosts:
        node = nodes.get(host.name)
        cut = "yes" if simulation.is_cut(stack, host) else ""
        state = node.state.value if node else "-"
        yield _row(host.name, state, node.address if node else host.address, cut, host.node_id)
    if problem:
        yield ""
        yield f"the gateway does not say: {problem}"


def _row(*cells: str) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


_WIDTHS = (22, 14, 17, 12, 0)


def _memory_mib(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MIB
    except (OSError, IndexError):
        return 0.0


def _age(pid: int) -> str:
    ticks = processes.start_time(pid)
    if ticks is None:
        return ""
    seconds = int(time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / 100)
    hours, rest = divmod(max(seconds, 0), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
