"""Recorded sessions for the page: their lines, bodies and thumbnails, changes and deletion.

The index has the place of each line in the file. It is extended by what was appended since, a few megabytes at a time,
whenever it is asked; 17 bytes per frame stay in memory.

A session as files is what `receiver export` makes, or a ZIP of all its files as they are.
"""

import asyncio
import bisect
import io
import itertools
import json
import logging
import threading
import unicodedata
import zipfile
from array import array
from collections.abc import AsyncGenerator, Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from zipstream import ZipStream

from common.arrays import ByteArray, FloatArray
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError, UsageError
from common.frames import Camera
from common.io.files import PrivateFolder, open_regular, stamp_of
from receiver.export.command import export
from receiver.export.rigging import made_of_body
from receiver.mesh.body_file import read_mesh
from receiver.mesh.render import depth_map, render
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.files import output_errors
from receiver.publish.frame_record import encode_line, mesh_path
from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_records import (
    DAMAGES,
    SessionInUse,
    SessionState,
    head_of_line,
    session_files,
    session_of_line,
    without_people,
)
from receiver.web.accounts.store import Account
from receiver.web.children.workshop import Workshop
from receiver.web.database import Database
from receiver.web.owners import account_key, delete_sessions_of_removed, is_clip, key_of_session, remove_account
from receiver.web.places import Refused

_CHUNK_BYTES = 4 << 20


@dataclass(slots=True)
class _SessionLines:
    """Sequence number and position in the file of each line of a session, in the order of the file."""

    sequences: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))


class RecordedFrames:
    """Reads the lines of an output directory, none if the file is missing; safe to use from several threads.

    Args:
        generation: another number when the file was replaced; one that has shrunk was, too.
    """

    def __init__(self, out: Path, generation: Callable[[], int] = lambda: 0) -> None:
        self._path = out / "frames.jsonl"
        self._lock = threading.Lock()
        self._generation, self._read_of = generation, generation()
        self._read_bytes = 0
        self._sessions: dict[int, _SessionLines] = {}

    def page(self, session: int, after: int, limit: int) -> list[bytes]:
        """The lines of a session behind sequence number `after`, at most `limit`, each with JSON. Raises OSError."""
        while True:
            with self._lock:
                generation = self._generation()
                self._extend(generation)
                lines = self._sessions.get(session) or _SessionLines()
                first = bisect.bisect_right(lines.sequences, after)
                places = range(first, min(first + limit, len(lines.offsets)))
            found = list(self._lines_at(lines, places))
            if self._generation() == generation:
                return found

    def _extend(self, generation: int) -> None:
        """Indexes what was appended; a file that was replaced is read anew."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._read_bytes or generation != self._read_of:
            self._read_bytes, self._read_of = 0, generation
            self._sessions.clear()
        if size == self._read_bytes:
            return
        with open(self._path, "rb") as file:
            file.seek(self._read_bytes)
            rest = b""
            while chunk := file.read(_CHUNK_BYTES):
                # A last line without its newline is still being written.
                whole, newline, rest = (rest + chunk).rpartition(b"\n")
                self._index(whole + newline)

    def _index(self, whole_lines: bytes) -> None:
        offset = self._read_bytes
        for line in whole_lines.splitlines(keepends=True):
            # Somebody may have edited it.
            if head := head_of_line(line):
                lines = self._sessions.setdefault(head.session, _SessionLines())
                lines.sequences.append(head.seq)
                lines.offsets.append(offset)
            offset += len(line)
        self._read_bytes = offset

    def _lines_at(self, lines: _SessionLines, places: range) -> Iterator[bytes]:
        if not places:
            return
        with open(self._path, "rb") as file:
            for place in places:
                file.seek(lines.offsets[place])
                yield file.readline().strip()


WIDTH, HEIGHT = 320, 240
_OVERSAMPLING = 2
# From so far that people are hardly distorted.
_DISTANCE_M = 12.0
_FILLED = 0.86
_MOST_PEOPLE = 6


def first_thumbnail(out: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    """The picture of the first line of `frames.jsonl` that has one, if there is one."""
    yield from itertools.islice(filter(None, (thumbnail(out, json.loads(line)) for line in lines)), 1)


def thumbnail(out: Path, line: Mapping[str, Any]) -> bytes | None:
    """A picture, WebP on nothing, of the people of a line of `frames.jsonl`; None if no mesh of them can be read."""
    meshes = _meshes(out, line)
    if not meshes:
        return None
    points = np.concatenate([mesh.vertices for mesh in meshes])
    low, high = points.min(axis=0), points.max(axis=0)
    away: FloatArray = np.array([0.0, 0.0, _DISTANCE_M], np.float32) - ((low + high) / 2).astype(np.float32)
    width, height = _OVERSAMPLING * WIDTH, _OVERSAMPLING * HEIGHT
    extent = np.maximum(high - low, 0.2)
    nearest_m = _DISTANCE_M - extent[2] / 2
    focal_px = _FILLED * nearest_m * min(width / extent[0], height / extent[1])
    camera = Camera(width, height, float(focal_px))
    canvas: ByteArray = np.zeros((height, width, 3), np.uint8)
    shown = np.zeros((height, width), np.bool_)
    # Painter's algorithm: the farthest first.
    for mesh in sorted(meshes, key=lambda mesh: -float(mesh.vertices[:, 2].mean())):
        moved = replace(mesh, vertices=(mesh.vertices + away).astype(np.float32))
        canvas = render(moved, camera, onto=canvas)
        shown |= depth_map(moved, camera) > 0
    picture = io.BytesIO()
    drawn = np.dstack([canvas, np.where(shown, 255, 0).astype(np.uint8)])
    Image.fromarray(drawn).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(picture, "WEBP", quality=82)
    return picture.getvalue()


def _meshes(out: Path, line: Mapping[str, Any]) -> Sequence[SurfaceMesh]:
    found = []
    for person in line["people"][:_MOST_PEOPLE]:
        for kind in ("surface", "body"):
            try:
                path = mesh_path(person[kind])
                if path is not None:
                    found.append(read_mesh(out / path))
                    break
            except (ValueError, KeyError, TypeError):
                continue
    return found


logger = logging.getLogger(__name__)

MAX_NAME = 100
# The picture of a session that goes on is drawn anew so often.
_THUMBNAIL_S = 30.0
_LINES_SEARCHED = 50
# Of an album, whose first pictures may all be without people.
_PAGES_SEARCHED = 20


class Library:
    """The recorded sessions of an output directory.

    Args:
        database: says whether an account was removed.
        workshop: makes bodies and thumbnails.
    """

    def __init__(
        self, directory: SessionDirectory, database: Database, workshop: Workshop, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.out, self.usage, self._workshop = directory.config.out, directory.usage, workshop
        self.downloads = Downloads(self.out)
        self.frames = RecordedFrames(self.out, lambda: directory.generation)
        self._directory, self._database, self._clock = directory, database, clock
        self.unfinished: set[str] = set()
        """Ids of sessions that are being made of clips: nobody sees them yet."""
        self._drawing, self._reading = asyncio.Lock(), asyncio.Lock()

    def sessions(self) -> list[SessionState]:
        """The sessions that have frames, by number."""
        found = self._directory.sessions()
        return [state for state in found if state.frames and state.identifier not in self.unfinished]

    def of_identifier(self, identifier: str) -> SessionState | None:
        """The session of an id, also one that is being made or has no frames; None if there is none."""
        return next((state for state in self._directory.sessions() if state.identifier == identifier), None)

    def clips_of(self, account: str) -> list[SessionState]:
        """The sessions of clips that an account has uploaded."""
        key = account_key(account)
        return [state for state in self.sessions() if is_clip(state) and key_of_session(state) == key]

    def session(self, number: int) -> SessionState | None:
        """A session that has frames, or None."""
        return next((state for state in self.sessions() if state.number == number), None)

    async def change(self, state: SessionState, name: str | None, hidden: Sequence[int] | None) -> bool:
        """Names a session, or takes people out of it; returns whether there is one.

        Raises:
            Refused: 422 for a name that does not print, or for an identity that nobody has.
        """
        if name is not None:
            name = unicodedata.normalize("NFKC", name).strip()
            if len(name) > MAX_NAME or not name.isprintable():
                raise Refused(422, f"a name has at most {MAX_NAME} characters that print")
        for person in set(hidden or ()) - state.statistics.people:
            raise Refused(422, f"nobody in the session has the id {person}")
        change = partial(self._directory.change, state.number, name=name, hidden=hidden)
        return await asyncio.to_thread(change)

    async def delete(self, states: Sequence[SessionState]) -> None:
        """Deletes sessions with their files. Raises SessionInUse or OutputError."""
        await asyncio.to_thread(self._directory.delete, [state.number for state in states])

    async def remove_account(self, account: Account) -> None:
        """Removes an account with its models and sessions; a session in use is deleted later. Raises OutputError."""
        now = self._clock.wall()
        await asyncio.to_thread(remove_account, self._database, self.out, account, now)
        await self.delete_of_removed()

    async def delete_of_removed(self) -> None:
        """Deletes the sessions of accounts that were removed, as far as they are not in use. Raises OutputError."""
        await asyncio.to_thread(delete_sessions_of_removed, self._directory, self._database)

    async def discard(self, identifier: str) -> None:
        """Deletes a session that has ended and that nobody has seen."""
        found = self.of_identifier(identifier)
        if found is None:
            return
        self.usage.settled(found.number)
        try:
            await self.delete([found])
        except (SessionInUse, OutputError) as error:
            logger.warning("session %d of a clip that failed is left: %s", found.number, error)

    async def body(self, path: Path, visitor: Hashable) -> bytes | None:
        """A GLB file made of a body, see `made_of_body`; None if there is no such body. Raises Refused: 429, 503."""
        source = path.with_name(f"{path.name.removesuffix('.glb').removesuffix('.body')}.body.gltf")
        stamp = await asyncio.to_thread(stamp_of, source)
        if stamp is None:
            return None
        with suppress(ValueError):
            return await self._workshop.made(visitor, (path, stamp), _body, path)
        return None

    async def page(self, state: SessionState, after: int, limit: int) -> list[bytes]:
        """Lines of a session, as `RecordedFrames.page`, without those whom somebody has taken out.

        One thread reads at a time.
        """

        def work() -> list[bytes]:
            lines = self.frames.page(state.number, after, limit)
            return [without(line, state.hidden).strip() for line in lines] if state.hidden else lines

        async with self._reading:
            return await asyncio.to_thread(work)

    async def thumbnail(self, state: SessionState) -> bytes | None:
        """A small picture, WebP, of a session's people; None if no mesh of it can be drawn. Raises Refused: 503."""
        key = state.number, state.statistics.ended_at // _THUMBNAIL_S, state.hidden
        async with self._drawing:
            lines = [] if self._workshop.keeps(key) else await self._lines_to_draw(state)
            return await self._workshop.made(None, key, first_thumbnail, self.out, lines)

    async def _lines_to_draw(self, state: SessionState) -> list[bytes]:
        """Of an album its first picture with people; else frames from the middle on: people are as they are mostly."""
        if not state.is_album:
            pages = [await self.page(state, after, _LINES_SEARCHED) for after in (state.last_sequence // 2 - 1, -1)]
            return [line for page in pages for line in page]
        after = -1
        for _ in range(_PAGES_SEARCHED):
            lines = await self.page(state, after, _LINES_SEARCHED)
            records = [json.loads(line) for line in lines]
            if not records or any(record["people"] for record in records):
                return lines
            after = records[-1]["seq"]
        return []


def _body(path: Path) -> list[bytes]:
    return [made_of_body(path)]


_EXPORT_S, _ZIPS = 600.0, 4
_PART_BYTES = 1 << 18


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
        while chunk := file.read(_PART_BYTES):
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
        while block := lines.readlines(_PART_BYTES):
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
