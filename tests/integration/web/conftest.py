"""The same tests on both databases: SQLite in a folder, and a real PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from receiver.web.database.database import Database, postgres_url
from tests.support.fake_pictures import FakePictures
from tests.support.postgres import is_installed, postgres
from tests.support.web_service import Site, open_site


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a database on a real server."""
    if not is_installed():
        pytest.skip("needs Debian's package postgresql")
    with postgres() as url:
        yield url


@pytest.fixture
def postgres_database(postgres_server: str) -> str:
    """URL of a database that is empty at the start of each test."""
    from sqlalchemy import create_engine

    engine = create_engine(postgres_url(postgres_server))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return postgres_server


@pytest.fixture(params=["sqlite", "postgres"])
def database_option(request: pytest.FixtureRequest) -> str | None:
    """`--database`: None for SQLite."""
    return request.getfixturevalue("postgres_database") if request.param == "postgres" else None


@pytest.fixture
def database(database_option: str | None, tmp_path: Path) -> Iterator[Database]:
    """An open database with the present schema."""
    opened = (
        Database.open_postgres(postgres_url(database_option))
        if database_option
        else Database.open_sqlite(tmp_path / "accounts")
    )
    with opened:
        yield opened


@pytest.fixture
def pictures() -> FakePictures:
    return FakePictures(people=2)


@pytest.fixture
async def site(tmp_path: Path, pictures: FakePictures) -> AsyncIterator[Site]:
    async with open_site(tmp_path, pictures) as opened:
        yield opened
