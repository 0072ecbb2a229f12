"""The bus of Flotilla: typed RPC, byte streams and events over NATS."""

from flotilla_bus.acceptance import Accept
from flotilla_bus.bus import Bus, Heard, connected
from flotilla_bus.connection import Credentials
from flotilla_bus.methods import Empty, Message, Method, Notice, StreamMethod
from flotilla_bus.service import Service
from flotilla_bus.streams import Stream

__all__ = [
    "Accept",
    "Bus",
    "Credentials",
    "Empty",
    "Heard",
    "Message",
    "Method",
    "Notice",
    "Service",
    "Stream",
    "StreamMethod",
    "connected",
]
