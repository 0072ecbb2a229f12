"""Tells whoever started the service that it serves now: systemd's protocol, sd_notify(3)."""

from __future__ import annotations

import os
import socket


def ready() -> None:
    """Send `READY=1` to the socket that `NOTIFY_SOCKET` names; nothing without one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect(address)
            sender.send(b"READY=1")
        except OSError:
            return  # nobody waits any more
