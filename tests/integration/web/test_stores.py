"""What the database keeps, on SQLite and on PostgreSQL."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from common.errors import UsageError
from receiver.web.accounts import store
from receiver.web.accounts.store import MAX_SESSIONS, SESSION_IDLE_S, SESSION_MOST_S, Account, NameTaken
from receiver.web.config import AccountsConfig
from receiver.web.database.database import Database, DatabaseUnavailable, open_database, postgres_url
from receiver.web.database.tables import ModelRow
from receiver.web.models import store as models
from receiver.web.models.store import TooManyModels

NOW = 1_800_000_000.0
HASH, OTHER_HASH = b"\x01" * 32, b"\x02" * 32
PEOPLE: list[dict[str, object]] = [{"joints_3d": [[1.0, None]]}]

RECEIVERS = 12


def account(database: Database, name: str = "Anna") -> Account:
    return database.write(lambda session: store.add_account(session, name, "hash", NOW))


def numbered(number: int) -> ModelRow:
    return ModelRow(
        id=f"{number:032x}",
        name="a.jpg",
        created_at=NOW + number,
        width=640,
        height=480,
        label_bytes=51,
        people_count=1,
        people=PEOPLE,
        stages_ms={"queue": 1.5},
    )


def test_database_of_an_earlier_version_opens(tmp_path: Path) -> None:
    """The file was written when the tables were still made by Alembic's migrations."""
    (tmp_path / "accounts").mkdir()
    with closing(sqlite3.connect(tmp_path / "accounts" / "accounts.sqlite3")) as earlier:
        earlier.executescript(Path(__file__).with_name("accounts-0001.sql").read_text())
    with open_database(None, tmp_path) as opened:
        row = opened.read(lambda session: store.find_account(session, "anna"))
        assert row is not None and row.password_hash == "hash"
        anna = Account(row.id, row.name)
        assert opened.read(lambda session: store.find_session(session, HASH, NOW)) == (anna, False)
        assert opened.read(lambda session: store.find_token(session, OTHER_HASH, NOW)) == (anna, True)
        model = opened.read(lambda session: models.find_model(session, anna, "0" * 32))
        assert model is not None and (model.people, model.stages_ms) == (PEOPLE, {"queue": 1.5})
        assert account(opened, "Bert").id == 2
        made = opened.read(_tables)
    with open_database(None, tmp_path / "new") as new:
        assert new.read(_tables) == made, "a new database has the same tables"


def _tables(session: Session) -> dict[str, object]:
    inspector = inspect(session.connection())
    return {
        name: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(name)],
            *(inspector.get_indexes(name), inspector.get_unique_constraints(name), inspector.get_foreign_keys(name)),
            inspector.get_pk_constraint(name)["constrained_columns"],
        )
        for name in inspector.get_table_names()
        if name != "sqlite_sequence"
    }


def test_account_is_found_and_its_name_taken_in_any_case(database: Database) -> None:
    made = account(database, "Straße")
    found = database.read(lambda session: store.find_account(session, "STRASSE"))
    assert found is not None and (found.id, found.name, found.password_hash) == (made.id, "Straße", "hash")
    assert database.read(lambda session: store.find_account(session, "anna")) is None
    with pytest.raises(NameTaken):
        account(database, "STRAßE")
    assert [row.name for row in database.read(store.list_accounts)] == ["Straße"]
    database.write(lambda session: store.remove_account(session, made))
    assert account(database, "Bert").id != made.id, "the number of a removed account is not given again"


def test_removed_account_takes_everything_with_it(database: Database) -> None:
    anna, bert = account(database), account(database, "Bert")
    for owner, digest, number in ((anna, HASH, 1), (bert, OTHER_HASH, 2)):
        database.write(lambda session, o=owner, d=digest: store.add_session(session, o, d, NOW))  # type: ignore[misc]
        database.write(lambda session, o=owner, d=digest: store.add_token(session, o, "x", d, NOW))  # type: ignore[misc]
        database.write(lambda session, o=owner, n=number: models.add_model(session, o, numbered(n), 9))  # type: ignore[misc]
    assert database.write(lambda session: store.remove_account(session, anna)) == [f"{1:032x}"]
    for name, count in (("accounts", 1), ("sessions", 1), ("tokens", 1), ("models", 1)):
        found = database.read(lambda session, n=name: session.scalar(text(f"SELECT count(*) FROM {n}")))  # type: ignore[misc]
        assert found == count, name


def test_session_ends_when_idle_at_its_age_and_with_another_password(database: Database) -> None:
    anna = account(database)
    database.write(lambda session: store.add_session(session, anna, HASH, NOW))

    def found(at: float) -> tuple[Account, bool] | None:
        return database.read(lambda session: store.find_session(session, HASH, at))

    assert found(NOW + 1) == (anna, False)
    assert found(NOW + 61) == (anna, True)
    assert found(NOW + SESSION_IDLE_S + 1) is None
    for day in range(1, 31):
        database.write(lambda session, d=day: store.use_session(session, HASH, NOW + d * 86_400))  # type: ignore[misc]
    assert found(NOW + SESSION_MOST_S - 1) is not None
    assert found(NOW + SESSION_MOST_S + 1) is None
    database.write(lambda session: store.change_password(session, anna, "new"))
    assert found(NOW + SESSION_MOST_S - 1) is None


def test_sessions_of_an_account_are_bounded_and_expired_ones_removed(database: Database) -> None:
    anna = account(database)
    for number in range(MAX_SESSIONS + 3):
        digest = bytes([number]) * 32
        database.write(lambda session, n=number, d=digest: store.add_session(session, anna, d, NOW + n))  # type: ignore[misc]
    assert database.read(lambda session: session.scalar(text("SELECT count(*) FROM sessions"))) == MAX_SESSIONS
    assert database.read(lambda session: store.find_session(session, bytes(32), NOW + 40)) is None
    late = NOW + 2 * SESSION_IDLE_S
    database.write(lambda session: store.add_session(session, anna, HASH, late))
    assert database.read(lambda session: session.scalar(text("SELECT count(*) FROM sessions"))) == 1


def test_token_of_another_account_is_not_removed(database: Database) -> None:
    anna, bert = account(database), account(database, "Bert")
    token = database.write(lambda session: store.add_token(session, anna, "a program", HASH, NOW))
    assert not database.write(lambda session: store.remove_token(session, bert, token.id))
    assert [row.id for row in database.read(lambda session: store.list_tokens(session, anna))] == [token.id]
    assert database.write(lambda session: store.remove_token(session, anna, token.id))
    assert database.read(lambda session: store.find_token(session, HASH, NOW)) is None


def test_model_comes_back_as_it_was(database: Database) -> None:
    anna, bert = account(database), account(database, "Bert")
    for number in (0, 1):
        database.write(lambda session, n=number: models.add_model(session, anna, numbered(n), 9))  # type: ignore[misc]
    identifier = "0" * 32
    found = database.read(lambda session: models.find_model(session, anna, identifier))
    assert found is not None and found.account_id == anna.id
    for name in ("name", "created_at", "width", "height", "label_bytes", "people_count", "people", "stages_ms"):
        assert getattr(found, name) == getattr(numbered(0), name), name
    assert database.read(lambda session: models.find_model(session, bert, identifier)) is None
    listed = database.read(lambda session: models.list_models(session, anna))
    assert [(row.id, row.people_count) for row in listed] == [(f"{1:032x}", 1), (identifier, 1)]
    assert not database.write(lambda session: models.remove_model(session, bert, identifier))
    assert database.write(lambda session: models.remove_model(session, anna, identifier))


def test_quota_holds_when_uploads_end_at_the_same_time(database: Database) -> None:
    anna = account(database)
    barrier = threading.Barrier(4)

    def add(number: int) -> bool:
        barrier.wait(10)
        try:
            database.write(lambda session: models.add_model(session, anna, numbered(number), 2))
        except TooManyModels:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(add, range(4))) == 2
    assert database.read(lambda session: models.count_models(session, anna)) == 2


def test_failed_transaction_leaves_nothing(database: Database) -> None:
    def work(session: object) -> None:
        store.add_account(session, "Anna", "hash", NOW)  # type: ignore[arg-type]
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        database.write(work)
    assert database.read(store.list_accounts) == []


def test_database_is_opened_again_and_by_two_at_once(
    database: Database, database_option: str | None, tmp_path: Path
) -> None:
    account(database)
    barrier = threading.Barrier(3)

    def names(_: int) -> list[str]:
        barrier.wait(10)
        with open_database(database_option, tmp_path) as other:
            return [row.name for row in other.read(store.list_accounts)]

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(names, range(3))) == [["Anna"]] * 3


def test_first_start_of_two_receivers_at_once(database_option: str | None, tmp_path: Path) -> None:
    barrier = threading.Barrier(RECEIVERS)

    def start(_: int) -> int:
        barrier.wait(10)
        with open_database(database_option, tmp_path) as opened:
            return len(opened.read(store.list_accounts))

    with ThreadPoolExecutor(RECEIVERS) as threads:
        assert list(threads.map(start, range(RECEIVERS))) == [0] * RECEIVERS


def test_newer_schema_is_refused(database: Database, database_option: str | None, tmp_path: Path) -> None:
    database.write(lambda session: session.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(UsageError, match=r"newer version.*9999.*update Bodywire") as raised:
        open_database(database_option, tmp_path)
    assert "a-secret" not in str(raised.value)


def test_password_of_the_database_is_in_no_message(postgres_server: str) -> None:
    url = postgres_url(postgres_server).set(port=1)
    with pytest.raises(DatabaseUnavailable, match="cannot use the database postgresql://bodywire") as raised:
        Database.open_postgres(url)
    assert "a-secret" not in str(raised.value)
    assert "a-secret" not in repr(AccountsConfig(database="postgresql://u:a-secret@h/y"))


def test_other_urls_are_refused_without_being_quoted() -> None:
    for url in ("", "accounts.db", "mysql://a/b", "postgresql://host", "postgresql://u:a-secret@h:x/y"):
        with pytest.raises(ValueError, match="postgresql://user@host/name") as raised:
            AccountsConfig(database=url)
        assert "a-secret" not in str(raised.value)


def test_sqlite_files_are_private_and_other_files_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "accounts"
    with Database.open_sqlite(folder) as opened:
        account(opened)
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}, modes
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match="cannot open"):
        Database.open_sqlite(tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "accounts.sqlite3").write_text("this is no database at all" * 100)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        Database.open_sqlite(tmp_path / "other")
