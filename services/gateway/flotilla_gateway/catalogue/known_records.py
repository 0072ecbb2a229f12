"""The containers' newest records in memory, so that a list costs no decoding."""

from flotilla_engine.host_config import HostConfig
from flotilla_engine.records import ContainerRecord, Platform
from flotilla_engine.sharing import Shared

MAX_RECORDS = 8192


class KnownRecords:
    """Records by container id, each with its revision.

    What containers that were made alike have in common is kept once: nothing is changed in place.
    """

    def __init__(self) -> None:
        self._records: dict[str, tuple[int, ContainerRecord]] = {}
        self._host_configs: Shared[HostConfig] = Shared()
        self._platforms: Shared[Platform] = Shared()

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
        record.host_config = self._host_configs.of(record.host_config)
        record.platform = self._platforms.of(record.platform)
        if container_id not in self._records and len(self._records) >= MAX_RECORDS:
            self._records.popitem()
        self._records[container_id] = (revision, record)

    def forget(self, container_id: str) -> None:
        """Drop the record of a container that is gone."""
        self._records.pop(container_id, None)
