"""The containers' newest records in memory, so that a list costs no decoding."""

from weakref import WeakValueDictionary

from flotilla_engine.host_config import HostConfig
from flotilla_engine.records import ContainerRecord, Platform

MAX_RECORDS = 8192


class KnownRecords:
    """Records by container id, each with its revision.

    Containers made alike have equal host configurations, the larger half of a record: these are
    kept once. Records are never changed in place.
    """

    def __init__(self) -> None:
        self._records: dict[str, tuple[int, ContainerRecord]] = {}
        self._host_configs: WeakValueDictionary[str, HostConfig] = WeakValueDictionary()
        self._platforms: WeakValueDictionary[str, Platform] = WeakValueDictionary()

    def revision(self, container_id: str) -> int:
        """Return the revision of the record; -1 if there is none."""
        known = self._records.get(container_id)
        return -1 if known is None else known[0]

    def get(self, container_id: str, revision: int) -> ContainerRecord | None:
        """Return the record, if it is of that revision."""
        known = self._records.get(container_id)
        return known[1] if known is not None and known[0] == revision else None

    def keep(self, container_id: str, revision: int, record: ContainerRecord) -> None:
        """Keep a record; when there are too many, the one kept last goes.

        So a list that is longer than this is still mostly found here.
        """
        key = record.host_config.model_dump_json(exclude_defaults=True)
        record.host_config = self._host_configs.setdefault(key, record.host_config)
        key = record.platform.model_dump_json()
        record.platform = self._platforms.setdefault(key, record.platform)
        if container_id not in self._records and len(self._records) >= MAX_RECORDS:
            self._records.popitem()
        self._records[container_id] = (revision, record)

    def forget(self, container_id: str) -> None:
        """Drop the record of a container that is gone."""
        self._records.pop(container_id, None)
