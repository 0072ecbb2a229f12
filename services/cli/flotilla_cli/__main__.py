"""The `flotilla` command."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flotilla_cli import (
    doctor,
    fleet,
    gateway,
    prepare,
    services,
    simulation,
    stack,
    status,
)
from flotilla_cli.failure import CommandError
from flotilla_cli.stack import DEFAULT_NAME
from flotilla_core.errors import FlotillaError

Command = Callable[[argparse.Namespace], None]
_LISTEN = "tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH; repeatable"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    command: Command = arguments.command
    try:
        command(arguments)
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    except (CommandError, FlotillaError) as error:
        print(f"flotilla: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"flotilla: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flotilla", description="A Docker engine over many hosts")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_stack_commands(commands)
    _add_service_commands(commands)
    _add_host_commands(commands)
    _add_fleet_commands(commands)
    return parser


Subcommands = argparse._SubParsersAction  # argparse has no public name for it


def _add(
    commands: "Subcommands[argparse.ArgumentParser]", name: str, command: Command, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    parser.add_argument("--name", default=DEFAULT_NAME, help="the stack's name (default)")
    return parser


def _add_stack_commands(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    up = _add(commands, "up", _up, "bring a fleet up on this machine; safe to repeat")
    up.add_argument("--hosts", type=int, help="1: this host; more: simulated hosts")
    up.add_argument("--data-dir", type=Path, help="where everything is kept")
    up.add_argument("--listen", action="append", type=_endpoint, help=_LISTEN)
    up.add_argument("--quiet", action="store_true", help="no progress")
    down = _add(commands, "down", _down, "stop the fleet and its containers")
    down.add_argument("--purge", action="store_true", help="remove its data as well")
    down.add_argument("--time", type=float, default=10, help="seconds that containers get to end")
    _add(commands, "status", _status, "say how services and hosts are")
    _add(commands, "doctor", _doctor, "say what this machine lacks, and how to get it")
    logs = _add(commands, "logs", _logs, "show the services' logs")
    logs.add_argument("service", nargs="*", help="only these")
    logs.add_argument("--follow", "-f", action="store_true")
    logs.add_argument("--tail", type=int, default=50, help="lines of each")
    text = "write the files of a fleet on real hosts; again, with more hosts, adds them"
    ready = _add(commands, "prepare", _prepare, text)
    ready.add_argument("--control", required=True, help="address of bus, image store and gateway")
    ready.add_argument("--dir", type=Path, default=prepare.FOLDER, help="where the files go")
    ready.add_argument("host", nargs="*", help="names of the hosts")


def _add_service_commands(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("service", help="kill, stop, start or wait for one service")
    verbs = group.add_subparsers(required=True, metavar="VERB")
    texts = {
        "kill": "kill it with SIGKILL",
        "stop": "stop it in order",
        "start": "start it and wait until it serves",
        "wait": "wait until it has ended",
    }
    for verb, text in texts.items():
        parser = _add(verbs, verb, _service, text)
        parser.set_defaults(verb=verb)
        parser.add_argument(
            "service", help="nats, image-store, registry-proxy, gateway, agent-HOST"
        )
        parser.add_argument("--timeout", type=float, default=60, help="seconds, for wait")


def _add_host_commands(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("host", help="cut off, heal, kill or start a simulated host")
    verbs = group.add_subparsers(required=True, metavar="VERB")
    texts = {
        "cut": "lose every packet from and to it",
        "heal": "undo cut",
        "kill": "take its power: every process dies at once",
        "start": "give it power again",
    }
    for verb, text in texts.items():
        parser = _add(verbs, verb, _host, text)
        parser.set_defaults(verb=verb)
        parser.add_argument("host")


def _add_fleet_commands(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("node", help="list, label, drain or remove nodes")
    verbs = group.add_subparsers(required=True, metavar="VERB")
    _add(verbs, "ls", _node_list, "list the nodes")
    for verb, text in {
        "drain": "place no more containers on it",
        "undrain": "undo drain",
        "rm": "take it out of the fleet",
        "label": "set its labels",
    }.items():
        parser = _add(verbs, verb, _node, text)
        parser.set_defaults(verb=verb)
        parser.add_argument("node")
        if verb == "label":
            parser.add_argument("label", nargs="+", type=_label, help="KEY=VALUE")
        if verb == "rm":
            parser.add_argument("--force", action="store_true")
    volume = commands.add_parser("volume", help="move volumes between nodes")
    volume_verbs = volume.add_subparsers(required=True, metavar="VERB")
    move = _add(volume_verbs, "move", _volume_move, "move an unused volume to another node")
    move.add_argument("volume")
    move.add_argument("node")


def _endpoint(text: str) -> str:
    if not text.startswith(("tcp://", "tls://", "unix:///")):
        raise argparse.ArgumentTypeError(f"{text}: {_LISTEN.partition(';')[0]} is expected")
    return text


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text}: KEY=VALUE is expected")
    return key, value


def _need_root() -> None:
    if os.geteuid() != 0:
        raise CommandError(
            "root is needed for network namespaces, mounts and cgroups; run it with sudo"
        )


def _up(arguments: argparse.Namespace) -> None:
    lacking = doctor.missing()
    if lacking:
        listed = "; ".join(f"{finding.what} ({finding.remedy})" for finding in lacking)
        raise CommandError(f"this machine lacks: {listed}")
    if arguments.hosts is not None and arguments.hosts < 1:
        raise CommandError("--hosts: at least 1")
    listen = None if arguments.listen is None else tuple(arguments.listen)
    wish = fleet.Wish(arguments.name, arguments.hosts, arguments.data_dir, listen)
    up = fleet.up(wish, lambda _: None if arguments.quiet else _say(_))
    if not arguments.quiet:
        for line in status.invitations(up):
            _say(f"  {line}")


def _say(text: str) -> None:
    print(text, flush=True)


def _down(arguments: argparse.Namespace) -> None:
    _need_root()
    if stack.load(arguments.name) is None:
        _say(f"there is no stack {arguments.name}")
        return
    known = stack.local(arguments.name)
    fleet.down(known, arguments.purge, arguments.time, _say)


def _status(arguments: argparse.Namespace) -> None:
    for line in status.lines(stack.local(arguments.name)):
        _say(line)


def _doctor(_: argparse.Namespace) -> None:
    lacking = False
    for finding in doctor.findings():
        lacking = lacking or (finding.is_needed and not finding.is_fine)
        word = "ok" if finding.is_fine else "missing" if finding.is_needed else "absent"
        _say(f"{word:8} {finding.what}" + ("" if finding.is_fine else f": {finding.remedy}"))
    if lacking:
        raise CommandError("this machine lacks what is marked `missing`")


def _logs(arguments: argparse.Namespace) -> None:
    known = stack.local(arguments.name)
    names = arguments.service or services.names(known)
    unknown = set(names) - set(services.names(known))
    if unknown:
        raise CommandError(f"no such service: {' '.join(sorted(unknown))}")
    files = [str(services.service(known, name).process.log_file) for name in names]
    there = [path for path in files if Path(path).exists()]
    follow = ["-F"] if arguments.follow else []
    subprocess.run(["tail", "-n", str(arguments.tail), *follow, *there], check=False)


def _prepare(arguments: argparse.Namespace) -> None:
    _need_root()
    folder, control = arguments.dir, arguments.control
    for line in prepare.prepare(arguments.name, folder, control, arguments.host):
        _say(line)


def _service(arguments: argparse.Namespace) -> None:
    _need_root()
    known = stack.local(arguments.name)
    if arguments.service not in services.names(known):
        raise CommandError(f"no such service; there are: {' '.join(services.names(known))}")
    one = services.service(known, arguments.service)
    match arguments.verb:
        case "kill":
            one.process.kill()
        case "stop":
            one.stop()
        case "start":
            fleet.start_service(known, arguments.service)
        case _:
            fleet.wait_service(known, arguments.service, arguments.timeout)


def _host(arguments: argparse.Namespace) -> None:
    _need_root()
    known = stack.local(arguments.name)
    host = known.host(arguments.host)
    if arguments.verb in ("cut", "heal") and not known.simulated:
        raise CommandError("only a simulated host (`flotilla up --hosts 2`) can be cut off")
    match arguments.verb:
        case "cut":
            simulation.cut(known, host)
        case "heal":
            simulation.heal(known, host)
        case "kill":
            fleet.kill_host(known, host)
        case _:
            fleet.start_host(known, host)


def _node_list(arguments: argparse.Namespace) -> None:
    for node in gateway.nodes(stack.loaded(arguments.name)):
        labels = ",".join(f"{key}={value}" for key, value in sorted(node.labels.items()))
        encrypts = "encrypts" if node.tunnel else ""
        cells = f"{node.id:27}{node.name:20}{node.state.value:14}{node.address:17}{encrypts:10}"
        _say(f"{cells}{labels}".rstrip())


def _node(arguments: argparse.Namespace) -> None:
    known = stack.loaded(arguments.name)
    match arguments.verb:
        case "rm":
            gateway.remove_node(known, arguments.node, arguments.force)
        case "label":
            gateway.update_node(known, arguments.node, labels=dict(arguments.label))
        case verb:
            gateway.update_node(known, arguments.node, drained=verb == "drain")


def _volume_move(arguments: argparse.Namespace) -> None:
    gateway.move_volume(stack.loaded(arguments.name), arguments.volume, arguments.node)


if __name__ == "__main__":
    sys.exit(main())
