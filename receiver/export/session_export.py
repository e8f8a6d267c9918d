"""The work of `receiver export`: reads a session, and writes its people."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from common.errors import UsageError
from common.text import counted, printable
from receiver.export.animated_glb import encode_characters
from receiver.export.bvh import encode_bvh
from receiver.export.character import Character, Placement, View
from receiver.export.destination import TIMES_FILE, Destination, new_folder, sequence_file, write_file
from receiver.export.ground import grounded, in_place
from receiver.export.label_table import encode_csv, encode_npz, read_table
from receiver.export.recorded_session import BodyAt, RecordedSession, read_session
from receiver.export.rigging import LeftOut, UnreadableBodies, rig
from receiver.export.usd_scene import check_installed, encode_usdz
from receiver.mesh.body_file import read_body
from receiver.mesh.formats import FORMATS, Export
from receiver.mesh.mesh_files import encode_mesh, to_y_up
from receiver.mesh.triangle_mesh import SurfaceMesh

Edit = Callable[[Character], Character]


def export_session(options: argparse.Namespace, destination: Destination) -> Iterator[str]:
    """Does what the arguments of `receiver export` say; yields a line for each file or folder when it is written.

    Raises:
        UsageError: an argument, or what the session has, is wrong.
        OutputError: a file cannot be written.
    """
    form = FORMATS[options.format]
    if form.export is Export.TABLE:
        yield _write_table(options, destination)
        return
    if options.format == "usdz":
        check_installed()
    session = _read(options)
    paths = destination.paths(session.file_stem, form, _groups(options, session))
    edit = _edit(options)
    left_out = LeftOut()
    if form.export is Export.SEQUENCE:
        yield from _write_sequences(paths, session, options.format, left_out)
    else:
        yield from _write_animations(paths, session, edit, options, left_out)
    _warn(session.damaged_lines, session.set_s, left_out)


def _edit(options: argparse.Namespace) -> Edit | None:
    """What is done with every character; None if the format has no mesh of it, and nothing was asked for."""
    if FORMATS[options.format].export is Export.SCENE or options.shape:
        # Imports the networks' library, which takes seconds.
        from receiver.export.editing import Edits

        return Edits.parse(options.wear, options.tint, options.shape).applied
    return None


def _read(options: argparse.Namespace) -> RecordedSession:
    """The bodies of the part of a session that was asked for."""
    session = read_session(*_place(options), options.from_s, options.to_s)
    return session if options.person is None else session.only(options.person)


def _place(options: argparse.Namespace) -> tuple[Path, int | None]:
    """The directory of a session, and its number. Raises UsageError if there is no directory."""
    text = str(options.session)
    numbered = text.isascii() and text.isdecimal()
    if not numbered and not options.session.is_dir():
        raise UsageError(f"{printable(text, 200)} is neither the number of a session nor a directory of a receiver")
    return (options.out, int(text)) if numbered else (options.session, None)


def _write_table(options: argparse.Namespace, destination: Destination) -> str:
    table, part = read_table(*_place(options), options.from_s, options.to_s, options.person)
    mark = "" if options.person is None else f"-p{options.person}"
    (path,) = destination.paths(part.file_stem(table.source), FORMATS[options.format], {mark: sorted(table.people)})
    write_file(path, (encode_npz if options.format == "npz" else encode_csv)(table))
    _warn(part.damaged_lines, part.times.set_s, LeftOut())
    return f"{path}: {counted(len(table.people), 'person', 'people')}, {counted(len(table.frames), 'frame')}"


def _groups(options: argparse.Namespace, session: RecordedSession) -> Mapping[str, Sequence[int]]:
    """The people of each file, by what they add to its name."""
    people, export = sorted(session.people), FORMATS[options.format].export
    if export is Export.SCENE:
        return {"" if options.person is None else f"-p{options.person}": people}
    groups = {}
    for person in people:
        mark = f"-p{person}" if len(people) > 1 or options.person is not None else ""
        first = session.first_frame(person) if export is Export.CHARACTER else 0
        groups[f"{mark}-frame-{first}" if first else mark] = [person]
    return groups


def _write_sequences(
    paths: Mapping[Path, Sequence[int]], session: RecordedSession, mesh_format: str, left_out: LeftOut
) -> Iterator[str]:
    people = [person for (person,) in paths.values()]
    _, placement = grounded(_rigged(session, people, None, LeftOut()))
    for path, (person,) in paths.items():
        with contextlib.suppress(UnreadableBodies):
            with new_folder(path) as folder:
                files = write_sequence(folder, session.people[person], mesh_format, placement, left_out)
            yield f"{path}: {counted(files, 'mesh', 'meshes')}"


def _write_animations(
    paths: Mapping[Path, Sequence[int]],
    session: RecordedSession,
    edit: Edit | None,
    options: argparse.Namespace,
    left_out: LeftOut,
) -> Iterator[str]:
    people = [person for group in paths.values() for person in group]
    placed, placement = grounded(_rigged(session, people, edit, left_out))
    if options.in_place:
        placed = [in_place(character) for character in placed]
    view = View(placement, session.lens) if session.lens and not options.in_place else None
    for path, group in paths.items():
        if characters := [character for character in placed if character.identity in group]:
            write_file(path, _encoded(characters, view, session, options))
            first = session.first_frame(group[0]) if options.format == "bvh" else 0
            begins = f", begins with frame {first}, at {first / session.frame_rate:.2f} s" if first else ""
            yield f"{path}: {_described(characters)}{begins}"


def _rigged(
    session: RecordedSession, people: Sequence[int], edit: Edit | None, left_out: LeftOut
) -> Sequence[Character]:
    """The people of whom a body can be read. Raises UnreadableBodies if there is nobody."""
    characters, failure = [], None
    for person in people:
        kinds, present = session.kinds.get(person, {}), session.present[person]
        try:
            character = rig(person, session.people[person], left_out, kinds, published_weights=edit is None)
        except UnreadableBodies as error:
            failure = error
        else:
            worn = character if edit is None else edit(character)
            characters.append(dataclasses.replace(worn, present=present, timely=session.timely))
    if failure and not characters:
        raise failure
    return characters


def _encoded(
    characters: Sequence[Character], view: View | None, session: RecordedSession, options: argparse.Namespace
) -> Iterable[bytes]:
    """The parts of an animation's file."""
    if options.format == "bvh":
        (character,) = characters
        return encode_bvh(character, session.frame_rate, session.first_frame(character.identity))
    if options.format == "usdz":
        return [encode_usdz(characters, view)]
    return [encode_characters(characters, f"session-{session.number}", view)]


def _described(characters: Sequence[Character]) -> str:
    people = counted(len(characters), "person", "people")
    frames = sum(len(character.motion) for character in characters)
    last_s = max(character.motion.times_s[-1] for character in characters)
    text = f"{people}, {counted(frames, 'pose')}, {last_s:.2f} s"
    if len(characters) == 1 and characters[0].switches(last_s):
        intervals = [f"{begin_s:.2f} to {min(end_s, last_s):.2f} s" for begin_s, end_s in characters[0].present]
        text += f", there from {', '.join(intervals)}"
    return text


def _warn(damaged_lines: int, set_s: Sequence[float], left_out: LeftOut) -> None:
    """A line each about what could not be exported, and about times that are not those of the recording."""
    parts = []
    if left_out.bodies:
        parts.append(f"{left_out.bodies} of {left_out.seen} bodies ({left_out.reason})")
    if damaged_lines:
        parts.append(f"{damaged_lines} damaged lines of frames.jsonl")
    lines = [f"left out {' and '.join(parts)}"] if parts else []
    if set_s:
        count, most_s = len(set_s), max(set_s, key=abs)
        times = "once, by" if count == 1 else f"{count} times, at most by"
        lines.append(f"the sender's clock was set {times} {most_s:+.0f} s: the times go on as before")
    for line in lines:
        sys.stderr.write(printable(f"receiver export: {line}", 2000) + "\n")


def write_sequence(
    folder: Path, bodies: Sequence[BodyAt], mesh_format: str, placement: Placement, left_out: LeftOut
) -> int:
    """Writes the bodies of a person into an empty folder, with the numbers of their frames, and a table of times.

    Args:
        bodies: in order of time.
        left_out: counts the bodies that cannot be read, or have other faces than the first one.

    Returns:
        the number of meshes.

    Raises:
        UnreadableBodies: none of the bodies can be read.
        OutputError: a file cannot be written.
    """
    rows = []
    for body, mesh in _meshes(bodies, left_out):
        vertices = to_y_up(placement.placed(mesh.vertices))
        content = encode_mesh(SurfaceMesh(vertices, mesh.faces, mesh.colours), mesh_format)
        name = sequence_file(body.frame, mesh_format)
        write_file(folder / name, [content], synced=False)
        rows.append(f"{body.frame},{body.time_s:.6f},{name}\n")
    if not rows:
        raise UnreadableBodies(f"none of the {len(bodies)} bodies can be read: {left_out.reason}")
    table = ["number,seconds,file\n", *rows]
    write_file(folder / TIMES_FILE, [row.encode() for row in table], synced=False)
    return len(rows)


def _meshes(bodies: Sequence[BodyAt], left_out: LeftOut) -> Iterator[tuple[BodyAt, SurfaceMesh]]:
    """The meshes that can be read, y up; of each frame one."""
    faces, written = None, set[int]()
    for body in bodies:
        left_out.seen += 1
        try:
            mesh = read_body(body.path, morphed=True).mesh
        except ValueError as error:
            left_out.add(error)
            continue
        faces = mesh.faces if faces is None else faces
        if not np.array_equal(mesh.faces, faces):
            left_out.add(f"{body.path} has other faces")
        elif body.frame in written:
            left_out.add(f"{body.path} is of a frame that has another body")
        else:
            written.add(body.frame)
            yield body, mesh
