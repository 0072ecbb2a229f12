"""The catalogue as one object: a table's queries under each name."""

from pathlib import Path

from flotilla_database import Database
from flotilla_gateway.catalogue.containers import Containers
from flotilla_gateway.catalogue.networks import Networks
from flotilla_gateway.catalogue.nodes import Nodes
from flotilla_gateway.catalogue.volumes import Volumes

MIGRATIONS = Path(__file__).with_name("migrations")


class Catalogue:
    """All tables of the catalogue."""

    def __init__(self, database: Database) -> None:
        """Use a database whose migrations have been applied."""
        self.nodes = Nodes(database)
        self.containers = Containers(database)
        self.networks = Networks(database)
        self.volumes = Volumes(database)
