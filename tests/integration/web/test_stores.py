"""What the database keeps."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from common.errors import OutputError, UsageError
from receiver.web.accounts import store
from receiver.web.accounts.store import MAX_SESSIONS, SESSION_IDLE_S, SESSION_MOST_S, Account
from receiver.web.database import Database, DatabaseUnavailable
from receiver.web.places import Refused

NOW = 1_800_000_000.0
RECEIVERS = 12


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


def account(database: Database, name: str = "Anna") -> Account:
    return database.write(store.add_account, name, "hash", NOW)


def count(database: Database, table: str) -> int:
    return int(database.read(lambda rows: rows.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))


def test_account_is_found_and_its_name_taken_in_any_case(database: Database) -> None:
    made = account(database, "Straße")
    found = database.read(store.find_account, "STRASSE")
    assert found is not None and (found["id"], found["name"], found["password_hash"]) == (made.id, "Straße", "hash")
    assert database.read(store.find_account, "anna") is None
    with pytest.raises(Refused):
        account(database, "STRAßE")
    assert [row["name"] for row in database.read(store.list_accounts)] == ["Straße"]
    database.write(store.remove_account, made, NOW)
    assert account(database, "Bert").id != made.id, "the number of a removed account is not given again"


def found(database: Database, secret: str, now: float) -> tuple[Account, bool] | None:
    return database.read(store.find_secret, secret, now, token=False)


def test_session_ends_when_idle_at_its_age_and_with_another_password(database: Database) -> None:
    anna = account(database)
    secret = database.write(store.begin_session, anna, NOW)
    assert found(database, secret, NOW + 1) == (anna, False)
    assert found(database, secret, NOW + 61) == (anna, True)
    assert found(database, secret, NOW + SESSION_IDLE_S + 1) is None
    assert database.read(store.find_secret, secret, NOW, token=True) is None, "a cookie is no bearer token"
    for day in range(1, 31):
        database.write(store.use_secret, secret, NOW + day * 86_400)
    assert found(database, secret, NOW + SESSION_MOST_S - 1) is not None
    assert found(database, secret, NOW + SESSION_MOST_S + 1) is None
    database.write(store.change_password, anna, "new")
    assert found(database, secret, NOW + SESSION_MOST_S - 1) is None


def test_sessions_of_an_account_are_bounded_and_expired_ones_removed(database: Database) -> None:
    anna = account(database)
    database.write(store.add_token, anna, "a program", NOW)
    secrets = [database.write(store.begin_session, anna, NOW + number) for number in range(MAX_SESSIONS + 3)]
    assert len(set(secrets)) == len(secrets) and min(map(len, secrets)) >= 43
    assert count(database, "secrets WHERE label IS NULL") == MAX_SESSIONS
    assert found(database, secrets[0], NOW + 40) is None
    database.write(store.begin_session, anna, NOW + 2 * SESSION_IDLE_S)
    assert count(database, "secrets WHERE label IS NULL") == 1
    assert count(database, "secrets") == 2, "tokens stay until they are revoked"


def test_many_open_it_at_once(tmp_path: Path) -> None:
    barrier = threading.Barrier(RECEIVERS)

    def start(number: int) -> None:
        barrier.wait(10)
        account(Database(tmp_path), f"anna-{number}")

    with ThreadPoolExecutor(RECEIVERS) as threads:
        list(threads.map(start, range(RECEIVERS)))
    assert count(Database(tmp_path), "accounts") == RECEIVERS


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 9", "CREATE TABLE accounts (id INTEGER)"])
def test_database_of_another_version_is_refused_and_left_alone(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "accounts" / "accounts.sqlite3"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.executescript(statement)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"another version of Bodywire .* move the folder"):
        Database(tmp_path)
    assert path.read_bytes() == before


def test_files_are_private_and_other_files_are_reported(tmp_path: Path) -> None:
    account(Database(tmp_path))
    folder = tmp_path / "accounts"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*; choose another --out"):
        Database(tmp_path / "file")
    (tmp_path / "other" / "accounts").mkdir(parents=True)
    (tmp_path / "other" / "accounts" / "accounts.sqlite3").write_text("this is no database at all" * 100)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        Database(tmp_path / "other")
