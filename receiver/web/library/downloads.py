"""Sessions as files: `receiver export` in a process of its own, or all files of a session as they are in a ZIP."""

import asyncio
import json
import os
import re
import zipfile
from collections.abc import Collection, Hashable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from zipstream import ZipStream

from common.errors import UsageError
from common.io.private_folder import PrivateFolder
from common.io.regular_file import open_regular
from receiver.publish.frame_record import encode_line, mesh_path
from receiver.publish.output_files import output_errors
from receiver.publish.session_deletion import session_files, session_of_line
from receiver.publish.session_records import DAMAGES, without_people
from receiver.web.children.own_program import own_environment, own_program
from receiver.web.places import Places

_EXPORT_TIMEOUT_S = 600.0
_AT_ONCE, _WAITING, _OF_VISITOR = 1, 8, 3
_NICE = 10
_CHUNK_BYTES = 1 << 18
_REFERENCE = re.compile(rb'"uri":"([a-z0-9-]+\.[a-z]+)"')


class Exports:
    """Exports sessions of a directory, one at a time: each takes as long as a core needs for the session."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._turn, self._waiting = asyncio.Semaphore(_AT_ONCE), Places(_WAITING, _OF_VISITOR, "exports")

    async def export(self, number: int, kind: str, stem: str, visitor: Hashable) -> tuple[BinaryIO, str]:
        """A file of a session, and its ending; the file has no name any more, and is gone when it is closed.

        Args:
            stem: what the files in a ZIP are called, without their endings.
            visitor: who waits for it.

        Raises:
            UsageError: the session cannot be exported in this format.
            Refused: 429 too many wait.
            OutputError: there is no room for the file.
        """
        with self._waiting.take(visitor):
            async with self._turn:
                return await self._export(number, kind, stem)

    async def _export(self, number: int, kind: str, stem: str) -> tuple[BinaryIO, str]:
        with output_errors(self._out):
            folder = PrivateFolder(self._out)
        try:
            flags = ("--out", str(self._out), "--format", kind, "--output", str(folder.path / f"{stem}.{kind}"))
            try:
                await _run(str(number), *flags)
            except UsageError as error:
                # Answers name no paths of the machine.
                raise UsageError(
                    str(error).replace(f"{self._out}/", "").replace(str(self._out), "the receiver")
                ) from error
            made = sorted(folder.path.iterdir())
            if len(made) == 1:
                return made[0].open("rb"), kind
            # A file each of several people.
            packed = (folder.path / "all.zip").open("w+b")
            await asyncio.to_thread(_pack, packed, made)
            return packed, "zip"
        finally:
            folder.remove()


async def _run(*arguments: str) -> None:
    """Runs `receiver export`. Raises UsageError with its words if it fails."""
    process = await asyncio.create_subprocess_exec(
        *(*own_program("receiver"), "export", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=own_environment(),
    )
    with suppress(OSError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
    try:
        async with asyncio.timeout(_EXPORT_TIMEOUT_S):
            _, errors = await process.communicate()
    except TimeoutError as error:
        raise UsageError("the session is too long to be exported here: use receiver export on its machine") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise UsageError(
            lines[-1].removeprefix("receiver export: ").removeprefix("--format ") if lines else "the export failed"
        )


def _pack(target: BinaryIO, paths: Iterable[Path]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)
    target.seek(0)


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
            yield b"".join(_without(line, hidden) if hidden else line for line in whole)


def _without(line: bytes, hidden: Collection[int]) -> bytes:
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
        with suppress(OSError), open_regular(out / path) as file:
            return {f"meshes/{name.decode()}" for name in _REFERENCE.findall(file.read())}
    return set()
