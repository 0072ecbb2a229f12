"""SQL databases of the services: SQLite by default, PostgreSQL by URL."""

from flotilla_database.database import Database, opened
from flotilla_database.migrations import migrated

__all__ = ["Database", "migrated", "opened"]
