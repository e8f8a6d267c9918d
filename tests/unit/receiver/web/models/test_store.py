import os
from pathlib import Path
from unittest import mock

import pytest

from common.errors import OutputError
from receiver.web.models.store import ModelFiles, new_model_id

FILES = {"person-0.obj": b"v", "picture.jpg": b"jpeg"}


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def nobody(_: object) -> list[str]:
    return []


def test_model_is_written_and_read(tmp_path: Path) -> None:
    files, model = ModelFiles(tmp_path / "models"), new_model_id()
    files.write(model, FILES)
    files.settle(model)
    assert names(tmp_path / "models") == {f"{model}/person-0.obj", f"{model}/picture.jpg"}
    assert files.read(model, "picture.jpg") == b"jpeg"
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "models").rglob("*")}
    assert modes == {0o700, 0o600}


@pytest.mark.parametrize("moment", ["before the row", "while files are written", "between row and files of a removal"])
def test_crash_leaves_nothing(tmp_path: Path, moment: str) -> None:
    files, model = ModelFiles(tmp_path), new_model_id()
    if moment == "while files are written":
        (tmp_path / f".{model}").mkdir()
        (tmp_path / f".{model}" / "person-0.obj").write_bytes(b"hal")
    else:
        files.write(model, FILES)
    if moment == "between row and files of a removal":
        files.settle(model)
        killed = mock.patch.object(ModelFiles, "remove", side_effect=KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt), killed, files.removal([model]):
            pass
    assert files.read(model, "picture.jpg") is None
    assert ModelFiles(tmp_path).recover(nobody) == 1
    assert list(tmp_path.iterdir()) == []


def test_crash_after_the_row_keeps_the_model(tmp_path: Path) -> None:
    files, model = ModelFiles(tmp_path), new_model_id()
    files.write(model, FILES)
    assert files.recover(lambda hidden: hidden) == 0
    assert names(tmp_path) == {f"{model}/person-0.obj", f"{model}/picture.jpg"}


def test_model_is_removed_with_its_row_only(tmp_path: Path) -> None:
    files, model = ModelFiles(tmp_path), new_model_id()
    files.write(model, FILES)
    files.settle(model)
    with pytest.raises(OutputError), files.removal([model]):
        raise OutputError("the database does not answer")
    assert files.read(model, "picture.jpg") == b"jpeg"
    with files.removal([model]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_start_with_another_database_removes_no_model(tmp_path: Path) -> None:
    files, model = ModelFiles(tmp_path), new_model_id()
    files.write(model, FILES)
    files.settle(model)
    assert files.recover(nobody) == 0
    assert files.read(model, "picture.jpg") == b"jpeg"


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    files, model = ModelFiles(tmp_path), new_model_id()
    with pytest.raises(OutputError, match="cannot write"), mock.patch("os.fsync", side_effect=OSError(28, "full")):
        files.write(model, FILES)
    assert list(tmp_path.iterdir()) == []


def test_symbolic_links_are_not_followed_for_writing(tmp_path: Path) -> None:
    files, model = ModelFiles(tmp_path / "models"), new_model_id()
    (tmp_path / "victim").mkdir()
    (tmp_path / "models" / f".{model}").symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError):
        files.write(model, FILES)
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.parametrize("linked", ["models", "file"])
def test_symbolic_links_are_not_followed_for_reading(tmp_path: Path, linked: str) -> None:
    model, stranger, own = new_model_id(), tmp_path / "stranger", tmp_path / "models"
    files = ModelFiles(own)
    ModelFiles(stranger).write(model, FILES)
    ModelFiles(stranger).settle(model)
    if linked == "models":
        own.rmdir()
        own.symlink_to(stranger)
    else:
        (own / model).mkdir()
        (own / model / "picture.jpg").symlink_to(stranger / model / "picture.jpg")
    with pytest.raises(OutputError, match="is a link"):
        files.read(model, "picture.jpg")


def test_linked_folder_is_not_written_or_removed_through(tmp_path: Path) -> None:
    model, stranger = new_model_id(), tmp_path / "stranger"
    files = ModelFiles(tmp_path / "models")
    ModelFiles(stranger).write(model, FILES)
    before = names(stranger)
    (tmp_path / "models").rmdir()
    (tmp_path / "models").symlink_to(stranger)
    for change in (
        lambda: files.write(new_model_id(), FILES),
        lambda: files.remove(model),
        lambda: files.settle(model),
        lambda: files.recover(nobody),
        lambda: ModelFiles(tmp_path / "models"),
    ):
        with pytest.raises(OutputError, match="is a link"):
            change()
    assert names(stranger) == before


def test_pipe_in_the_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    files, model = ModelFiles(tmp_path), new_model_id()
    (tmp_path / model).mkdir()
    os.mkfifo(tmp_path / model / "picture.jpg")
    with pytest.raises(OutputError, match="not a regular file"):
        files.read(model, "picture.jpg")
