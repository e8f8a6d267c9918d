"""Sessions as files: `receiver export`, or all files of a session as they are in a ZIP."""

import json
import zipfile
from collections.abc import AsyncGenerator, Collection, Hashable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from zipstream import ZipStream

from common.errors import UsageError
from common.io.files import PrivateFolder, open_regular
from receiver.export.command import export
from receiver.publish.files import output_errors
from receiver.publish.frame_record import encode_line, mesh_path
from receiver.publish.session_records import DAMAGES, session_files, session_of_line, without_people
from receiver.web.children.workshop import Workshop

_EXPORT_S, _ZIPS = 600.0, 4
_CHUNK_BYTES = 1 << 18


class Downloads:
    """Makes files of the sessions of a directory."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._exports = Workshop("exports", longest_s=_EXPORT_S)
        # Each is made as fast as its visitor takes it.
        self._zips = Workshop("downloads", at_once=_ZIPS, waiting=_ZIPS)

    async def aclose(self) -> None:
        """Ends the processes that wait."""
        await self._exports.aclose()
        await self._zips.aclose()

    async def export(self, number: int, kind: str, stem: str, visitor: Hashable) -> tuple[BinaryIO, str]:
        """A file of a session, and its ending; the file has no name any more, and is gone when it is closed.

        Args:
            stem: what the files in a ZIP are called, without their endings.
            visitor: who waits for it.

        Raises:
            UsageError: the session cannot be exported in this format.
            Refused: 429 too many wait, 503 it takes too long.
            OutputError: there is no room for the file.
        """
        with output_errors(self._out):
            folder = PrivateFolder(self._out)
        try:
            await self._exports.made(visitor, None, _export, self._out, number, kind, folder.path / f"{stem}.{kind}")
            (made,) = folder.path.iterdir()
            return made.open("rb"), made.suffix[1:]
        finally:
            folder.remove()

    def zipped(self, number: int, folder: str, hidden: Collection[int], visitor: Hashable) -> AsyncGenerator[bytes]:
        """See the function `zipped`. Raises Refused: 429 there are too many, 503 it has failed."""
        return self._zips.parts(visitor, zipped, self._out, number, folder, hidden)


def _export(out: Path, number: int, kind: str, path: Path) -> Iterator[bytes]:
    """Writes one file into an empty folder: a ZIP where a format has a file each of several people."""
    try:
        for _ in export((str(number), "--out", str(out), "--format", kind, "--output", str(path))):
            yield b""
    except UsageError as error:
        # Answers name no paths of the machine.
        text = str(error).removeprefix("--format ").replace(f"{out}/", "")
        raise UsageError(text.replace(str(out), "the receiver")) from error
    made = sorted(path.parent.iterdir())
    if len(made) > 1:
        with zipfile.ZipFile(path.parent / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for each in made:
                archive.write(each, each.name)
                each.unlink()


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The content of a file, which is closed at the end."""
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def zipped(out: Path, number: int, folder: str, hidden: Collection[int] = ()) -> Iterator[bytes]:
    """A ZIP, made while it is read: the session's meshes and pictures as they are, and its lines of `frames.jsonl`.

    It lacks what is deleted meanwhile, and those who are hidden with what only they have.
    """
    # What is there is packed already.
    archive, paths = ZipStream(), list(session_files(out, number))
    archive.add(_lines(out, number, hidden), f"{folder}/frames.jsonl")
    yield from archive.all_files()
    left_out = _only_theirs(out, number, hidden) if hidden else ()
    for path in paths:
        if str(path) in left_out:
            continue
        with suppress(OSError), open_regular(out / path) as file:
            archive.add(file.read(), f"{folder}/{path}")
        yield from archive.all_files()
    yield from archive.finalize()


def _lines(out: Path, number: int, hidden: Collection[int] = ()) -> Iterator[bytes]:
    with open(out / "frames.jsonl", "rb") as lines:
        while block := lines.readlines(_CHUNK_BYTES):
            whole = (line for line in block if session_of_line(line) == number and line.endswith(b"\n"))
            yield b"".join(without(line, hidden) if hidden else line for line in whole)


def without(line: bytes, hidden: Collection[int]) -> bytes:
    """A line without those who are hidden; nothing of one that is damaged, in which they may be."""
    try:
        return encode_line(without_people(json.loads(line), hidden)).encode() + b"\n"
    except DAMAGES:
        return b""


def _only_theirs(out: Path, number: int, hidden: Collection[int]) -> set[str]:
    """The meshes of those who are hidden, and what nobody else's bodies refer to; relative to the directory."""
    files: tuple[set[str], set[str]] = set(), set()
    for line in b"".join(_lines(out, number)).splitlines():
        with suppress(*DAMAGES):
            for person in json.loads(line)["people"]:
                paths = {path for kind in ("surface", "body") if (path := mesh_path(person[kind]))}
                files[person["id"] in hidden].update(paths)
    others, theirs = (paths.union(*(_referred(out, path) for path in paths)) for paths in files)
    return theirs - others


def _referred(out: Path, path: str) -> set[str]:
    """The files that a body refers to."""
    if path.endswith(".gltf"):
        with suppress(OSError, *DAMAGES), open_regular(out / path) as file:
            document = json.loads(file.read())
            return {f"meshes/{part['uri']}" for kind in ("buffers", "images") for part in document.get(kind, ())}
    return set()
