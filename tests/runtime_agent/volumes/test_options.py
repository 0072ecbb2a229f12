"""Mounts of driver options (``volumes/options.py``)."""

from __future__ import annotations

import pytest

from flotilla_core.errors import InternalError
from flotilla_runtime_agent.volumes.options import mount_of


def test_names_of_servers_become_addresses() -> None:
    nfs = mount_of({"type": "nfs", "o": "addr=127.0.0.1,ro,nolock", "device": ":/data"})
    assert nfs is not None
    assert (nfs.source, nfs.flags, nfs.data) == (":/data", 1, "addr=127.0.0.1,nolock")
    cifs = mount_of({"type": "cifs", "o": "username=me", "device": "//127.0.0.1/share/below"})
    assert cifs is not None
    assert (cifs.source, cifs.data) == ("//127.0.0.1/share/below", "username=me")


def test_a_server_without_an_address_is_refused() -> None:
    name = "a..b"  # no resolver is asked for a name that cannot be
    with pytest.raises(InternalError, match=r"network volume address: lookup a\.\.b"):
        mount_of({"type": "nfs", "o": f"addr={name}", "device": ":/data"})
