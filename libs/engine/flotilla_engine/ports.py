"""Port specifications as Docker writes them: ``80/tcp``, ``8000-8010``, port bindings."""

from collections.abc import Mapping

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.host_config import PortBinding

PROTOCOLS = ("tcp", "udp", "sctp")


def split_protocol(port: str) -> tuple[str, str]:
    """Return protocol and port of ``80/tcp`` (go-connections ``SplitProtoPort``)."""
    number, _, protocol = port.partition("/")
    if not number:
        return "", ""
    return protocol.lower() or "tcp", number


def parse_port(text: str) -> int:
    """Return a port's number.

    Raises:
        ValueError: With Go's text.
    """
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if len(text) > 10 or int(text) > 65535:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def parse_port_range(text: str) -> tuple[int, int]:
    """Return first and last port of ``80`` or ``80-90`` (go-connections ``ParsePortRange``).

    Raises:
        ValueError: With dockerd's text.
    """
    if not text:
        raise ValueError("empty string specified for ports")
    first, dash, last = text.partition("-")
    start = parse_port(first)
    if not dash:
        return start, start
    end = parse_port(last)
    if end < start:
        raise ValueError(f"invalid range specified for port: {text}")
    return start, end


def exposed_ports(specification: str) -> list[str]:
    """Return the ports that a key of ``ExposedPorts`` or ``PortBindings`` names, each ``80/tcp``.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    protocol, port = split_protocol(specification)
    if protocol not in PROTOCOLS:
        if not protocol:
            raise InvalidArgumentError(f'invalid port specification: "{specification}"')
        raise InvalidArgumentError(f"invalid proto: {protocol}")
    try:
        first, last = parse_port_range(port)
    except ValueError as error:
        raise InvalidArgumentError(
            f"invalid range format for --expose: {port}, error: {error}"
        ) from None
    return [f"{number}/{protocol}" for number in range(first, last + 1)]


def normalised_bindings(
    bindings: Mapping[str, list[PortBinding] | None],
) -> dict[str, list[PortBinding]]:
    """Return port bindings by ``80/tcp``; a port without bindings gets a random one.

    Raises:
        InvalidArgumentError: ``invalid port specification: "…"``, as dockerd says.
    """
    normalised: dict[str, list[PortBinding]] = {}
    for key, given in bindings.items():
        protocol, port = split_protocol(key)
        try:
            number = parse_port(port)
        except ValueError:
            raise InvalidArgumentError(f'invalid port specification: "{port}"') from None
        for binding in given or ():
            check_host_port(binding.host_port)
        normalised.setdefault(f"{number}/{protocol}", []).extend(given or [PortBinding()])
    return normalised


def check_host_port(text: str) -> None:
    """Check the host's side of a binding: empty, a port or a range.

    Raises:
        InvalidArgumentError: ``invalid port specification: "…"``, as dockerd says.
    """
    if not text:
        return
    try:
        parse_port_range(split_protocol(text)[1])
    except ValueError:
        raise InvalidArgumentError(f'invalid port specification: "{text}"') from None


def host_port_range(text: str) -> tuple[int, int]:
    """Return first and last host port of a checked binding; (0, 0) asks for any."""
    if not text:
        return 0, 0
    return parse_port_range(split_protocol(text)[1])


def port_order(port: str) -> tuple[int, str]:
    """Return the key that sorts ``80/tcp`` before ``443/tcp``."""
    protocol, number = split_protocol(port)
    return (int(number) if number.isascii() and number.isdigit() else 0, protocol)
