"""User networks as the gateway described them last, on disk."""

from pathlib import Path

from flotilla_engine.records import NetworkState
from flotilla_runtime_agent.network.sandboxes import read_json, write_json


class StateStore:
    """The newest state of each network; one JSON file each."""

    def __init__(self, folder: Path) -> None:
        """Read what is in the folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._states: dict[str, NetworkState] = {}
        for path in folder.glob("*.json"):
            state = read_json(path, NetworkState)
            if state is not None:
                self._states[state.network.id] = state

    def take(self, state: NetworkState) -> bool:
        """Keep a state; answers False, and does nothing, if it is older than the known one."""
        known = self._states.get(state.network.id)
        if known is not None and known.revision > state.revision:
            return False
        self._states[state.network.id] = state
        write_json(self._folder / f"{state.network.id}.json", state)
        return True

    def get(self, network_id: str) -> NetworkState | None:
        """Return the newest state of a network."""
        return self._states.get(network_id)

    def remove(self, network_id: str) -> NetworkState | None:
        """Forget a network; answers with what was known."""
        (self._folder / f"{network_id}.json").unlink(missing_ok=True)
        return self._states.pop(network_id, None)

    def all(self) -> list[NetworkState]:
        """Return all states."""
        return list(self._states.values())
