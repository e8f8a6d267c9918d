"""Changes accounts on a faulty disk (`tests.netlab.faults.volatile_disk`).

`python -m tests.netlab.faults.durable_accounts --out DIR --ledger FILE --journal DIR`

Change n, one transaction, adds account n, signs it in, and removes the oldest account beyond `KEPT`.  Its number is
written to the ledger when it is committed.
"""

import argparse
import os
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection

from receiver.web.accounts import store
from receiver.web.accounts.store import Account
from receiver.web.database import Database, DatabaseUnavailable
from tests.netlab.faults import volatile_disk

KEPT = 5


def change(connection: Connection, number: int) -> None:
    """Makes change n."""
    account = store.add_account(connection, f"user-{number}", f"hash-{number}", float(number))
    store.begin_session(connection, account, float(number))
    old = store.find_account(connection, f"user-{number - KEPT}")
    if old is not None:
        store.remove_account(connection, Account(old["id"], old["name"]), float(number))


def is_after(connection: Connection, number: int) -> bool:
    """Whether the database is whole, and as change n has left it; −1 for none."""
    kept = range(max(number - KEPT + 1, 0), number + 1)
    signed_in = "SELECT name, password_hash FROM accounts JOIN secrets ON account_id = accounts.id ORDER BY accounts.id"
    removed = sorted(int(row["name"].removeprefix("user-")) for row in store.list_removed(connection))
    return (
        [tuple(row) for row in connection.execute(signed_in)] == [(f"user-{each}", f"hash-{each}") for each in kept]
        and store.count_accounts(connection) == len(kept)
        and removed == list(range(kept.start))
        and connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    )


def last_change(connection: Connection) -> int:
    """The number of the last change; −1 before the first."""
    newest = connection.execute("SELECT name FROM accounts ORDER BY id DESC LIMIT 1").fetchone()
    return -1 if newest is None else int(newest["name"].removeprefix("user-"))


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.faults.durable_accounts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    volatile_disk.add_flags(parser)
    options = parser.parse_args()
    meter = volatile_disk.install(options, options.out)
    counted = volatile_disk.count_sqlite(meter)
    ledger = os.open(options.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    database = Database(options.out)
    number = database.read(last_change) + 1
    while counted:
        with suppress(DatabaseUnavailable):
            database.write(change, number)
            os.write(ledger, b"%d\n" % number)
            number += 1


if __name__ == "__main__":
    main()
