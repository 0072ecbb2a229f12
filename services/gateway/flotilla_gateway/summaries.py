"""The list of containers as JSON, of which only the states are written anew for each request.

A record does not change while it is the newest, but `Up 2 minutes` does: the rest of a summary is
kept as bytes, so that `docker ps` with a thousand containers costs a few milliseconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from flotilla_core.clock import now
from flotilla_engine.records import ContainerRecord, ContainerSize, NodeRecord
from flotilla_engine.render import container_summary, node_fields, summary_status
from flotilla_engine.versions import Version

_SPARE = 256
_PLACE = secrets.token_hex(16)
_QUOTED_PLACE = orjson.dumps(_PLACE)


@dataclass(frozen=True)
class _Kept:
    """A summary around its status, and what it was made from."""

    record: ContainerRecord
    node: dict[str, Any]
    version: Version
    before: bytes
    after: bytes


class Summaries:
    """Writes lists of containers; one of a process, for all clients."""

    def __init__(self) -> None:
        """Know nothing."""
        self._kept: dict[str, _Kept] = {}

    def json(self, found: Sequence[tuple[ContainerRecord, NodeRecord]], version: Version) -> bytes:
        """Return the JSON document of a list."""
        moment = now()
        nodes = {node.id: node_fields(node) for _, node in found}
        parts = [self._one(record, node, nodes[node.id], version, moment) for record, node in found]
        if len(self._kept) > 2 * len(found) + _SPARE:
            self._forget_all_but({record.id for record, _ in found})
        return b"[" + b",".join(parts) + b"]\n"

    def _one(
        self,
        record: ContainerRecord,
        node: NodeRecord,
        fields: dict[str, Any],
        version: Version,
        moment: datetime,
    ) -> bytes:
        kept = self._kept.get(record.id)
        if (
            kept is None
            or kept.record is not record
            or kept.version != version
            or kept.node != fields
        ):
            summary = container_summary(record, version, node=node, now=moment)
            summary["Status"] = _PLACE
            before, _, after = orjson.dumps(summary).partition(_QUOTED_PLACE)
            kept = self._kept[record.id] = _Kept(record, fields, version, before, after)
        status = orjson.dumps(summary_status(record.state, node, moment))
        return kept.before + status + kept.after

    def _forget_all_but(self, listed: set[str]) -> None:
        self._kept = {name: kept for name, kept in self._kept.items() if name in listed}


def sized_summaries(
    found: Sequence[tuple[ContainerRecord, NodeRecord]],
    version: Version,
    sizes: dict[str, ContainerSize],
) -> list[dict[str, Any]]:
    """Return a list with sizes."""
    return [
        container_summary(record, version, node=node, size=sizes.get(record.id))
        for record, node in found
    ]
