"""`receiver accounts`: makes accounts and tokens without the page, also while a receiver runs."""

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from common.clock import SYSTEM_CLOCK
from common.errors import OutputError, UsageError, exit_code_of
from common.io.command_line import CommandParser
from common.io.startup import prepare_process
from common.text import counted, printable
from receiver.web.accounts import store
from receiver.web.accounts.store import Account, PasswordHasher, check_password, checked_name
from receiver.web.database import Database

_COLUMNS = "{:32} {:12} {:>7} {:>7}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""

    def work() -> None:
        prepare_process()
        _work(_parser().parse_args(arguments))

    return exit_code_of("receiver accounts", work)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "receiver accounts",
        description="Make and remove accounts of the web page and their tokens.",
        epilog="A password is read from standard input, without echo on a terminal.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(os.environ.get("BODYWIRE_RECEIVER_OUT", "out")),
        help="output directory of the receiver (default: out)",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=CommandParser)
    for name, work, described in _ACTIONS:
        action = actions.add_parser(name, help=described, description=described, allow_abbrev=False)
        action.set_defaults(work=work)
        if name != "list":
            action.add_argument("name", metavar="NAME")
        if name == "token":
            action.add_argument("--label", default="made by receiver accounts", help="what the token is for")
    return parser


def _work(options: argparse.Namespace) -> None:
    if options.action != "add" and not (options.out / "accounts").is_dir():
        raise UsageError(f"{options.out} has no accounts: give the receiver's --out, or add one first")
    options.work(Database(options.out), options)


def _add(database: Database, options: argparse.Namespace) -> None:
    name = checked_name(options.name)
    encoded = _new_password_hash(name)
    account = database.write(store.add_account, name, encoded, SYSTEM_CLOCK.wall())
    print(f"added {account.name}")


def _token(database: Database, options: argparse.Namespace) -> None:
    account = _account(database, options.name)
    _, secret = database.write(store.add_token, account, options.label, SYSTEM_CLOCK.wall())
    print(secret)


def _list(database: Database, _: argparse.Namespace) -> None:
    print(_COLUMNS.format("name", "made", "tokens", "models"))
    for name, created_at, tokens, models in database.read(store.list_accounts):
        made = f"{datetime.fromtimestamp(created_at, UTC):%Y-%m-%d}"
        print(_COLUMNS.format(printable(name, 64), made, tokens, models))


def _remove(database: Database, options: argparse.Namespace) -> None:
    # Imported here: the other actions need not wait for the libraries of meshes.
    from receiver.config import PublishConfig
    from receiver.publish.session_directory import SessionDirectory
    from receiver.web.owners import delete_sessions_of_removed, remove_account

    account = _account(database, options.name)
    models = remove_account(database, options.out, account, SYSTEM_CLOCK.wall())
    print(f"removed {account.name} and {counted(models, 'model')}")
    if not (options.out / "frames.jsonl").exists():
        return
    try:
        with SessionDirectory(PublishConfig(options.out)) as directory:
            delete_sessions_of_removed(directory, database)
    except OutputError:  # it has the lock
        print("the receiver that runs deletes the sessions of its cameras and clips within a minute")


def _password(database: Database, options: argparse.Namespace) -> None:
    account = _account(database, options.name)
    encoded = _new_password_hash(account.name)
    database.write(store.change_password, account, encoded)
    print(f"changed the password of {account.name}; whoever was signed in has to sign in again")


_ACTIONS: Sequence[tuple[str, Callable[[Database, argparse.Namespace], None], str]] = (
    ("add", _add, "make an account; reads its password"),
    ("token", _token, "make a bearer token for programs, and print it this once"),
    ("list", _list, "list the accounts"),
    ("remove", _remove, "remove an account with its tokens, models, and sessions of cameras and clips"),
    ("password", _password, "set another password, also a forgotten one; reads it"),
)


def _account(database: Database, name: str) -> Account:
    found = database.read(store.find_account, name)
    if found is None:
        raise UsageError(f"there is no account {printable(name, 64)}: see receiver accounts list")
    return Account(found["id"], found["name"])


def _new_password_hash(name: str) -> str:
    password = _read_password()
    check_password(password, name)
    return PasswordHasher().hash_now(password)


def _read_password() -> str:
    """From the terminal without echo, twice; otherwise the first line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    try:
        password = getpass.getpass("password: ")
        if getpass.getpass("again: ") != password:
            raise UsageError("the two passwords differ: try again")
    except EOFError as error:
        raise UsageError("no password was given") from error
    except OSError as error:
        raise OutputError(f"cannot read a password from the terminal: {error.strerror}") from error
    return password


if __name__ == "__main__":
    raise SystemExit(main())
