"""Twin of flotilla_database, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Boolean, Integer, String, bindparam, column, func, select, table, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from flotilla_core.errors import InternalError, InvalidArgumentError, UnavailableError
from flotilla_database import Database, migrated, opened

MIGRATION = '''"""Makes the table of things."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "things",
        sa.Column("name", sa.String(20), primary_key=True),
        sa.Column("size", sa.Integer, nullable=False),
    )
'''


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001_things.py").write_text(MIGRATION)
    return versions.parent


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/data/a.db"
    postgres: str = request.getfixturevalue("postgres_url")
    return postgres


@pytest.fixture
async def database(url: str, migrations: Path) -> AsyncIterator[Database]:
    async with opened(url) as database:
        await migrated(database, migrations)
        yield database


async def _put(database: Database, name: str, size: int = 0) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            text("INSERT INTO things (name, size) VALUES (:name, :size)"),
            {"name": name, "size": size},
        )


async def _names(database: Database) -> list[str]:
    async with database.reading() as connection:
        result = await connection.execute(text("SELECT name FROM things ORDER BY name"))
        return [str(row[0]) for row in result]


async def test_changes_are_committed_or_undone_whole(database: Database) -> None:
    await _put(database, "a")

    async def twice(connection: AsyncConnection) -> None:
        for name in ("b", "a"):
            await connection.execute(text(f"INSERT INTO things VALUES ('{name}', 1)"))

    with pytest.raises(IntegrityError):
        await database.change(twice)
    assert await _names(database) == ["a"]


_THINGS = table("things", column("name", String), column("size", Integer))
_THING = (
    select(
        _THINGS.c.name,
        _THINGS.c.size.cast(Boolean).label("has_size"),
        func.max(_THINGS.c.size),
    )
    .where(_THINGS.c.name == bindparam("wanted"), _THINGS.c.size < 5)
    .group_by(_THINGS.c.name, _THINGS.c.size)
)


async def test_a_look_up_reads_what_was_committed_just_now(database: Database) -> None:
    assert list(await database.look_up(_THING, {"wanted": "a"})) == []
    await _put(database, "a", 3)
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE things SET size = 4"))
        (before,) = await database.look_up(_THING, {"wanted": "a"})
    (row,) = await database.look_up(_THING, {"wanted": "a"})
    assert (row.name, row[2]) == ("a", 4)
    assert row.has_size is True
    assert before[2] == 3


async def test_two_replicas_may_start_at_once(url: str, migrations: Path) -> None:
    async with opened(url) as one, opened(url) as other:
        await asyncio.gather(migrated(one, migrations), migrated(other, migrations))
        await migrated(one, migrations)
        await _put(other, "a")
        assert await _names(one) == ["a"]


async def test_many_writers_lose_nothing(database: Database, url: str) -> None:
    async def add(writer: Database) -> None:
        async def work(connection: AsyncConnection) -> None:
            await connection.execute(text("UPDATE things SET size = size + 1"))

        await writer.change(work)

    await _put(database, "a")
    async with opened(url) as other:
        await asyncio.gather(*(add(writer) for _ in range(25) for writer in (database, other)))
    async with database.reading() as connection:
        assert (await connection.execute(text("SELECT size FROM things"))).scalar_one() == 50


async def test_a_cancelled_transaction_leaves_no_lock(database: Database) -> None:
    for pause in range(12):
        changing = asyncio.create_task(_put(database, f"cancelled-{pause}"))
        for _ in range(pause):
            await asyncio.sleep(0)
        changing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await changing
        async with asyncio.timeout(20):
            await _put(database, f"kept-{pause}")
    assert len([name for name in await _names(database) if name.startswith("kept")]) == 12


async def test_an_error_of_the_statement_is_not_told_as_unavailable(database: Database) -> None:
    with pytest.raises(DBAPIError, match="nowhere"):
        async with database.reading() as connection:
            await connection.execute(text("SELECT * FROM nowhere"))


async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/a.db") as database:

        async def fill(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql("PRAGMA max_page_count=2")
            await connection.exec_driver_sql("CREATE TABLE large (content TEXT)")
            await connection.exec_driver_sql("INSERT INTO large VALUES (zeroblob(100000))")

        with pytest.raises(InternalError, match="database or disk is full"):
            await database.change(fill)
        await database.ping()


async def test_a_database_out_of_reach_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached") as raised:
        async with opened(f"postgresql://me:hunter2@/x?host={tmp_path}"):
            pass
    assert "hunter2" not in str(raised.value)
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be reached"):
        async with opened(f"sqlite:///{tmp_path}/file/a.db"):
            pass


@pytest.mark.parametrize("wrong", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
async def test_a_wrong_url_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidArgumentError, match="database"):
        async with opened(wrong):
            pass
