"""Ends what runs on a host of the stack, as a shutdown or a power cut does, and cleans up."""

import signal
from contextlib import suppress
from pathlib import Path

from flotilla_cli import processes, simulation
from flotilla_cli.commands import run_json, succeeds
from flotilla_cli.stack import Host, Stack

_NETWORK_DAEMON = "flotilla_runtime_agent.network.daemon"  # a module that Python runs
_CGROUPS = Path("/sys/fs/cgroup")


def processes_of(stack: Stack, host: Host) -> list[int]:
    """Return what runs on the host: agent, monitors, containers and all that they started."""
    namespace = _namespace_inode(stack, host)
    return [pid for pid in processes.pids() if _belongs(stack, host, pid, namespace)]


def _namespace_inode(stack: Stack, host: Host) -> int | None:
    path = Path("/run/netns", stack.namespace(host))
    return path.stat().st_ino if stack.simulated and path.exists() else None


def _belongs(stack: Stack, host: Host, pid: int, namespace: int | None) -> bool:
    proc = Path("/proc", str(pid))
    with suppress(OSError):
        if processes.start_time(pid) is None:
            return False
        if namespace is not None and (proc / "ns/net").stat().st_ino == namespace:
            return True
        cgroups = (proc / "cgroup").read_text().splitlines()
        if any(
            f"{line}/".rpartition(":")[2].startswith(f"{stack.cgroup(host)}/") for line in cgroups
        ):
            return True
        return _is_outliving(stack, host, pid, "conmon", "wireguard-go", _NETWORK_DAEMON)
    return False


def _is_monitor(stack: Stack, host: Host, pid: int) -> bool:
    return _is_outliving(stack, host, pid, "conmon")


def _is_outliving(stack: Stack, host: Host, pid: int, *programs: str) -> bool:
    """Say whether a process is one of these, which an agent starts and which outlive it."""
    with suppress(OSError):
        command = Path("/proc", str(pid), "cmdline").read_text(errors="replace").split("\0")
        folders = (f"{stack.host_data_dir(host)}/", f"{stack.host_run_dir(host)}/")
        is_one = not {Path(command[0]).name, *command}.isdisjoint(programs)
        return is_one and any(part.startswith(folders) for part in command)
    return False


def stop_containers(stack: Stack, host: Host, timeout_s: float) -> None:
    """Ask each container's processes to end, and kill what is left after the time-out."""

    def monitors() -> set[int]:
        return {pid for pid in processes.pids() if _is_monitor(stack, host, pid)}

    watched = monitors()
    if timeout_s > 0:
        for pid in processes.pids():
            if processes.parent_of(pid) in watched:
                processes.send(pid, signal.SIGTERM)
        processes.eventually(lambda: not monitors(), timeout_s)
    for pid in processes.pids():
        if processes.parent_of(pid) in watched and pid not in watched:
            processes.send(pid, signal.SIGKILL)
    processes.eventually(lambda: not monitors(), 5)
    processes.kill_all(lambda: processes_of(stack, host))


def cut_power(stack: Stack, host: Host) -> None:
    """Kill all that runs on the host, and lose what a host loses without power."""
    processes.kill_all(lambda: processes_of(stack, host))
    clean(stack, host)


def clean(stack: Stack, host: Host) -> None:
    """Remove mounts, network namespaces, links and cgroups of a host on which nothing runs."""
    unmount_below(stack.host_data_dir(host))
    unmount_below(stack.host_run_dir(host))
    if stack.simulated:
        simulation.tear_down_host(stack, host)
    else:
        _clean_own_network(stack, host)
    _remove_tunnel_socket(stack.host_run_dir(host))
    remove_cgroups(stack.cgroup(host))


def _clean_own_network(stack: Stack, host: Host) -> None:
    """Remove what an agent makes in the machine's own network: links, and its nft table."""
    bridges = {path.name for path in (stack.host_data_dir(host) / "network/bridges").glob("*")}
    tunnels = {name.replace("fl-", "fx-", 1) for name in bridges}
    ours = bridges | tunnels | {stack.bridge, f"fw-{host.node_id[:12]}"}
    # Not /sys/class/net: it shows the network of whoever mounted it.
    for link in run_json("ip", "-j", "link"):
        if str(link["ifname"]) in ours:
            succeeds("ip", "link", "del", str(link["ifname"]))
    succeeds("nft", "delete", "table", "inet", stack.table)


def _remove_tunnel_socket(run_dir: Path) -> None:
    """Remove what a killed wireguard-go leaves; the agent has linked to it."""
    link = run_dir / "wireguard.sock"
    if link.is_symlink():
        link.readlink().unlink(missing_ok=True)
        link.unlink()


def unmount_below(folder: Path) -> None:
    """Unmount everything at and below a folder, the last mounted first."""
    points = [
        line.split()[4].encode().decode("unicode_escape")
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    for point in reversed(points):
        if point == str(folder) or point.startswith(f"{folder}/"):
            succeeds("umount", "--lazy", point)


def remove_cgroups(path: str) -> None:
    """Remove a cgroup and all below it, in every hierarchy."""
    roots = [_CGROUPS, *(child for child in _CGROUPS.iterdir() if child.is_dir())]
    for root in roots:
        top = root / path.lstrip("/")
        if not top.is_dir():
            continue
        for folder in (*sorted(top.rglob("*/"), reverse=True), top):
            with suppress(OSError):
                folder.rmdir()
