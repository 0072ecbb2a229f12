"""Brings a stack up and takes it down."""

import ipaddress
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from flotilla_cli import (
    certificates,
    gateway,
    hosts,
    nats_server,
    processes,
    services,
    simulation,
    stack,
)
from flotilla_cli.failure import CommandError
from flotilla_cli.stack import Host, Stack

Say = Callable[[str], None]
_NODES_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Wish:
    """What `flotilla up` was asked for; None means: as it was, or the default."""

    name: str
    hosts: int | None
    data_dir: Path | None
    listen: tuple[str, ...] | None


def up(wish: Wish, say: Say) -> Stack:
    """Bring a stack up, or what of it is down; returns when everything answers."""
    started = time.monotonic()
    fleet = _described(wish)
    fleet.save()
    services.write_credentials(fleet)
    nats_server.write_config(fleet)
    if fleet.uses_tls:
        certificates.ensure(fleet.tls_dir)
    if fleet.simulated:
        simulation.set_up(fleet)
        for host in fleet.hosts:
            simulation.set_up_host(fleet, host)
        say(f"{len(fleet.hosts)} simulated hosts in {fleet.subnet}")
    bus = services.service(fleet, "nats")
    bus.process.signal(signal.SIGHUP)  # reads its users again
    _start(fleet, ["nats"], say)
    _start(fleet, services.names(fleet)[1:], say)
    wanted = {host.name for host in fleet.hosts if not simulation.is_cut(fleet, host)}
    gateway.await_nodes(fleet, wanted, _NODES_TIMEOUT_S)
    say(f"up in {time.monotonic() - started:.1f} s")
    return fleet


def _described(wish: Wish) -> Stack:
    known = stack.load(wish.name, wish.data_dir)
    if known is not None and known.is_elsewhere:
        raise CommandError(f"the fleet {wish.name} is on real hosts; give a --name")
    count = wish.hosts or (len(known.hosts) if known else 1)
    if known is None:
        listen = wish.listen
        if listen is None:
            listen = ("tcp://127.0.0.1:2375",) if wish.name == "default" else ()
        data_dir = (wish.data_dir or stack.DATA_ROOT / wish.name).absolute()
        simulated = count > 1
        taken = simulation.taken_networks() if simulated else _no_networks()
        known = stack.new(wish.name, data_dir, listen, simulated, taken)
    elif count > 1 and not known.simulated:
        raise CommandError(
            f"the stack {wish.name} runs on this host itself; simulated hosts need another --name, "
            "or `flotilla down --purge` first"
        )
    elif wish.listen is not None and wish.listen != known.listen:
        if services.service(known, "gateway").process.pid() is not None:
            services.service(known, "gateway").stop()
        known = replace(known, listen=wish.listen)
    return stack.with_hosts(known, count, socket.gethostname())


def _no_networks() -> list[ipaddress.IPv4Network]:
    return []


def _start(fleet: Stack, names: list[str], say: Say) -> None:
    starting = [
        services.service(fleet, name).start(fleet.run_dir / f"{name}.notify") for name in names
    ]
    for start in starting:
        say(f"{start.service.name}: {'started' if start.wait() else 'runs already'}")


def start_service(fleet: Stack, name: str) -> None:
    """Start one service and wait until it serves."""
    _start(fleet, [name], lambda _: None)


def down(fleet: Stack, purge: bool, timeout_s: float, say: Say) -> None:
    """Stop services and containers, and remove all that is not data."""
    running = [services.service(fleet, name) for name in reversed(services.names(fleet))]
    for one in running:
        if one.name != "nats":
            one.process.signal(signal.SIGTERM)
    for one in running:
        one.stop()
    say("services stopped")
    for host in fleet.hosts:
        hosts.stop_containers(fleet, host, timeout_s)
        hosts.clean(fleet, host)
    if fleet.simulated:
        simulation.tear_down(fleet)
    hosts.remove_cgroups(f"/flotilla/{fleet.name}")
    shutil.rmtree(fleet.run_dir, ignore_errors=True)
    say("containers stopped, hosts removed" if fleet.simulated else "containers stopped")
    if purge:
        hosts.unmount_below(fleet.data_dir)
        fleet.forget()
        say("data removed")


def kill_host(fleet: Stack, host: Host) -> None:
    """Take the power from a host."""
    hosts.cut_power(fleet, host)


def start_host(fleet: Stack, host: Host) -> None:
    """Give the host its power back: network, agent; the agent restarts containers."""
    if fleet.simulated:
        simulation.set_up_host(fleet, host)
    start_service(fleet, f"agent-{host.name}")


def wait_service(fleet: Stack, name: str, timeout_s: float) -> None:
    """Wait until a service has ended."""
    process = services.service(fleet, name).process
    if not processes.eventually(lambda: process.pid() is None, timeout_s):
        raise CommandError(f"{name} still runs after {timeout_s:g} s")
