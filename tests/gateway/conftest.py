"""A catalogue on each database, and a fleet of fake nodes behind a real bus."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from flotilla_database import Database, migrated, opened
from flotilla_gateway.catalogue.catalogue import MIGRATIONS, Catalogue
from flotilla_testing.postgres import running_postgres


@pytest.fixture(scope="session")
def catalogue_postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/catalogue.db"
    else:
        url = request.getfixturevalue("catalogue_postgres")
    async with opened(url) as database:
        if request.param == "postgresql":
            async with database.transaction() as connection:
                await connection.execute(text("DROP SCHEMA public CASCADE"))
                await connection.execute(text("CREATE SCHEMA public"))
        await migrated(database, MIGRATIONS)
        yield database


@pytest.fixture
def catalogue(database: Database) -> Catalogue:
    return Catalogue(database)
