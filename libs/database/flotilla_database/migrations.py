"""Brings a database's tables up to date at start, also when several replicas start at once."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from flotilla_database.database import Database

_ADVISORY_LOCK = 0x666C6F74  # "flot": one migration at a time in one PostgreSQL database


async def migrated(
    database: Database, migrations: Path, *, version_table: str = "alembic_version"
) -> None:
    """Run the migrations that the database lacks, in one transaction under a lock.

    Args:
        database: What to bring up to date.
        migrations: Folder with `versions/`, Alembic's numbered files.
        version_table: Where it is noted how far they are; another one for each service, as two
            may share a database.

    Raises:
        UnavailableError: If the database cannot be reached.
    """
    if await _is_up_to_date(database, migrations, version_table):
        return
    async with database.transaction() as connection:
        if database.is_sqlite:
            await connection.execute(text("SELECT 1"))  # takes the writer's lock
        else:
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK}
            )
        await connection.run_sync(_upgrade, migrations, version_table)


async def _is_up_to_date(database: Database, migrations: Path, version_table: str) -> bool:
    """Look without Alembic, whose import takes longer than the rest of a start."""
    files = (migrations / "versions").glob("[0-9]*.py")
    newest = max(path.name.partition("_")[0] for path in files)
    query = text(f"SELECT version_num FROM {version_table}")
    try:
        async with database.reading() as connection:
            return str(await connection.scalar(query)) == newest
    except DBAPIError:  # there is no such table
        return False


def _upgrade(connection: Connection, migrations: Path, version_table: str) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import RevisionStep, StampStep
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)

    def steps(revision: object, _context: object) -> list[RevisionStep | StampStep]:
        return list(scripts._upgrade_revs("head", revision))  # type: ignore[arg-type]

    with EnvironmentContext(config, scripts, fn=steps) as environment:
        environment.configure(
            connection=connection, transactional_ddl=True, version_table=version_table
        )
        environment.run_migrations()
