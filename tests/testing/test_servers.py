"""The fixtures' servers are real ones (flotilla_testing.registries, postgres)."""

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from flotilla_testing.registries import Registry


def test_registry_answers(registry: Registry) -> None:
    assert registry.get("/v2/").status_code == 200


def test_basic_registry_wants_its_user(basic_registry: Registry) -> None:
    assert basic_registry.get("/v2/").status_code == 200
    assert httpx.get(f"http://{basic_registry.address}/v2/", trust_env=False).status_code == 401


async def test_postgres_answers(postgres_url: str) -> None:
    engine = create_async_engine(postgres_url)
    try:
        async with engine.connect() as connection:
            assert (await connection.execute(text("select 1"))).scalar_one() == 1
    finally:
        await engine.dispose()
