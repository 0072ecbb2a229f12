"""Fleet view and node view: what a client sees of the fleet at one address of the gateway."""

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """The whole fleet, or (at ``/on/NODE``) one node of it."""

    node_id: str | None = None

    def shows(self, node_id: str) -> bool:
        """Return whether what is on that node is seen."""
        return self.node_id is None or self.node_id == node_id


FLEET = View()
