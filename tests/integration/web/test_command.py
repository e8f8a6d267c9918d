"""`receiver accounts` as its users run it."""

import io
import json
import sys
from pathlib import Path

import pytest

from receiver.__main__ import main
from receiver.web.owners import CAMERA, owner_of
from tests.support.pictures.fake_pictures import FakePictures, picture
from tests.support.receiver.published_session import record_session
from tests.support.web.web_service import PASSWORD, open_site


class Command:
    """Runs the command in a directory; `out` and `err` are what the last run has printed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str, stdin: str = "") -> int:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(["accounts", "--out", str(self.folder), *arguments])
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setattr("receiver.web.accounts.command.prepare_process", lambda: None)
    return Command(tmp_path, monkeypatch, capsys)


def test_account_is_made_given_a_token_and_another_password_and_removed(command: Command) -> None:
    assert command("add", "Anna", stdin=f"{PASSWORD}\n") == 0 and command.out == "added Anna\n"
    assert command("token", "anna") == 0
    assert command.out.startswith("bw_") and len(command.out.splitlines()) == 1
    assert command("list") == 0
    assert command.out.splitlines()[1].split()[0::2] == ["Anna", "1"]
    assert command("password", "Anna", stdin="another good one\n") == 0
    assert command("remove", "Anna") == 0 and "0 models" in command.out
    assert command("list") == 0 and len(command.out.splitlines()) == 1


def test_mistakes_are_one_line_each(command: Command) -> None:
    assert command("add", "Anna", stdin=f"{PASSWORD}\n") == 0
    mistakes: list[tuple[tuple[str, ...], str, str]] = [
        ((), "", "required: ACTION"),
        (("fly",), "", "invalid choice"),
        (("add",), "", "required: NAME"),
        (("add", "Bert"), "", "10 to 256 characters"),
        (("add", "Bert"), "password123\n", "easy to guess"),
        (("add", "a/b"), f"{PASSWORD}\n", "a name has"),
        (("add", "ANNA"), f"{PASSWORD}\n", "choose another name"),
        (("token", "Bert"), "", "no account Bert"),
        (("token", "Anna", "--label", "\x1b[31m"), "", "a label has"),
        (("remove", "Bert"), "", "no account Bert"),
        (("password", "Bert"), f"{PASSWORD}\n", "no account Bert"),
    ]
    for arguments, stdin, message in mistakes:
        assert command(*arguments, stdin=stdin) == 2, arguments
        assert message in command.err and command.err.startswith("receiver accounts: ")
        assert len(command.err.splitlines()) == 1 and command.out == ""


def test_wrong_directory_is_reported_and_not_made(command: Command) -> None:
    command.folder = command.folder / "missing"
    assert command("list") == 2 and "give the receiver's --out" in command.err
    assert not command.folder.exists()


@pytest.mark.parametrize(("second", "code"), [(PASSWORD, 0), ("another one", 2)])
def test_password_is_asked_twice_on_a_terminal(
    second: str, code: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([PASSWORD, second])

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    monkeypatch.setattr("io.StringIO", Terminal)
    assert command("add", "Anna") == code
    assert code == 0 or "differ" in command.err


async def test_removed_account_loses_its_files(tmp_path: Path, command: Command) -> None:
    async with open_site(tmp_path, FakePictures()) as site:  # while the receiver runs
        anna, bert = await site.visitor("Anna"), await site.visitor("Bert")
        for client in (anna, bert):
            assert (await client.post("/upload", files={"image": ("a.jpg", picture())})).status_code == 201
        assert command("remove", "anna") == 0 and "Anna and 1 model\n" in command.out
        assert len(list((tmp_path / "models").iterdir())) == 1
        assert (await anna.get("/api/models")).status_code == 401
        assert len((await bert.get("/api/models")).json()["models"]) == 1


@pytest.mark.parametrize("running", [True, False])
async def test_removed_account_loses_its_sessions(
    tmp_path: Path, command: Command, running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(tmp_path, FakePictures()) as site:
        monkeypatch.setattr("receiver.web.accounts.command.SYSTEM_CLOCK", site.clock.clock())
        await site.visitor("Anna")
        for name, subject in (("hers", f"token:{owner_of(CAMERA, 'Anna')}"), ("others", "")):
            record_session(site.directory, name, subject)
        site.clock.advance(10)
        if running:
            assert command("remove", "anna") == 0 and "within a minute" in command.out
            await site.service.library.delete_of_removed()
    if not running:
        assert command("remove", "anna") == 0 and "minute" not in command.out
    lines = (tmp_path / "frames.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["others.mp4"] * 3
    names = [path.name for path in (tmp_path / "meshes").iterdir()]
    assert len([name for name in names if name.startswith("s2-0")]) == 6 and not list(tmp_path.glob(".removed*"))
    assert all(name.startswith("s2-") for name in names)
