"""Numbers of a session for research: joints, labels and their standard deviations, and the bytes of each frame.

Shapes: T frames, P people, E entries of all label groups, G label groups. What nobody knows is NaN.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import FloatArray
from common.body.anatomy import COCO_KEYPOINTS, FACIAL_ACTIONS, FINGER_BONES
from common.errors import UsageError
from common.labels import GROUP_NAMES, GROUPS, LIMBS, concatenate
from receiver.export.recorded_session import PartRead, read_part
from receiver.publish.session_records import whole

_ENTRIES = tuple(f"{group.name}.{entry}" for group in GROUPS for entry in range(group.size))
_OF_PERSON: Mapping[str, tuple[Sequence[str], ...]] = {
    "score": (),
    "joints_3d": (COCO_KEYPOINTS, "xyz"),
    "keypoints_2d": (COCO_KEYPOINTS, ("x", "y", "confidence")),
    "seen": (LIMBS,),
    "height_m": (),
    "height_sigma_m": (),
    "distance_sigma_m": (),
    "labels": (_ENTRIES,),
    "face": (FACIAL_ACTIONS,),
    "fingers": (FINGER_BONES, "xyz"),
}
"""Arrays of people, behind their axes T and P: what is along the other axes."""
_OF_FRAME: Mapping[str, tuple[Sequence[str], ...]] = {
    "seq": (),
    "time_s": (),
    "captured_at": (),
    "age_ms": (),
    "link_bytes": (),
    "bytes": (("total", "header", *GROUP_NAMES),),
    "rho": (GROUP_NAMES,),
    "camera": (("width", "height", "focal_px", "focal_sigma"),),
}
"""Arrays of frames, likewise."""
_NAMES: dict[str, Sequence[str]] = {
    "joint_names": COCO_KEYPOINTS,
    "limb_names": LIMBS,
    "label_names": _ENTRIES,
    "face_names": FACIAL_ACTIONS,
    "finger_names": FINGER_BONES,
    "bytes_names": _OF_FRAME["bytes"][0],
    "rho_names": GROUP_NAMES,
    "camera_names": _OF_FRAME["camera"][0],
}
# Three gigabytes.
_MOST_CELLS = 500_000
_MOST_IDENTITY = 255

Values = dict[str, npt.NDArray[Any]]


@dataclass(slots=True)
class LabelTable:
    """What the lines of a session say.

    Args:
        frames: values of each frame.
        people: by identity, and the frame's index, those of a person.
    """

    frames: list[Values] = field(default_factory=list)
    people: dict[int, dict[int, Values]] = field(default_factory=dict)
    source: str = ""

    def add(self, record: Any, sequence: int, time_s: float) -> None:
        """Adds a line, all or nothing. Raises one of `DAMAGES`, or UsageError if there are too many."""
        frame = _frame_values(record) | {"seq": np.array(sequence), "time_s": np.array(time_s)}
        people = {whole(person["id"], _MOST_IDENTITY): _person_values(person) for person in record["people"]}
        self.source = str(record.get("source", ""))
        for identity, values in people.items():
            self.people.setdefault(identity, {})[len(self.frames)] = values
        self.frames.append(frame)
        if len(self.frames) * len(self.people) > _MOST_CELLS:
            raise UsageError("so many frames of so many people fit no memory: choose a part with --from and --to")

    def arrays(self) -> dict[str, Any]:
        """All arrays by name, with the names of what is along their axes."""
        people = sorted(self.people)
        arrays: dict[str, Any] = {name: np.stack([frame[name] for frame in self.frames]) for name in _OF_FRAME}
        arrays |= {"person": np.array(people, np.uint8), "present": np.zeros((len(self.frames), len(people)), bool)}
        for name, axes in _OF_PERSON.items():
            shape = (len(self.frames), len(people), *map(len, axes))
            arrays[name] = np.full(shape, np.nan, np.float32)
            for column, identity in enumerate(people):
                for row, values in self.people[identity].items():
                    arrays["present"][row, column] = True
                    arrays[name][row, column] = values[name]
        return arrays | {name: np.array(names) for name, names in _NAMES.items()}


def read_table(
    directory: Path, number: int | None, from_s: float, to_s: float, person: int | None
) -> tuple[LabelTable, PartRead]:
    """Reads a part of a session, of one person or of all.

    Raises:
        UsageError: the directory has no such session, frame or person, or too many frames.
    """
    table = LabelTable()
    part = read_part(directory, number, from_s, to_s, table.add)
    if not table.frames:
        last_s = f"its last frame is at {part.times.times_s[-1]:.2f} s"
        raise UsageError(f"session {part.number} has no frame between {from_s:g} s and {to_s:g} s: {last_s}")
    if person is not None:
        if person not in table.people:
            known = ", ".join(map(str, sorted(table.people))) or "nobody"
            raise UsageError(f"this part of session {part.number} has nobody with the id {person}; it has {known}")
        table.people = {person: table.people[person]}
    return table, part


def encode_npz(table: LabelTable) -> Iterator[bytes]:
    """The arrays as NumPy's archive."""
    file = io.BytesIO()
    np.savez_compressed(file, **table.arrays())
    yield file.getvalue()


def encode_csv(table: LabelTable) -> Iterator[bytes]:
    """A row for each person of each frame, and one for a frame of nobody; what is not known is empty."""
    arrays = table.arrays()
    header = [*_columns(_OF_FRAME), "person", *_columns(_OF_PERSON)]
    yield (",".join(header) + "\n").encode()
    nobody = [""] * (len(header) - len(_columns(_OF_FRAME)))
    for row, present in enumerate(arrays["present"]):
        frame = _cells([arrays[name][row] for name in _OF_FRAME])
        columns = np.flatnonzero(present).tolist()
        people = [
            [str(arrays["person"][column]), *_cells([arrays[name][row, column] for name in _OF_PERSON])]
            for column in columns
        ]
        yield "".join(",".join([*frame, *person]) + "\n" for person in people or [nobody]).encode()


def _columns(arrays: Mapping[str, tuple[Sequence[str], ...]]) -> list[str]:
    """`joints_3d.nose.x`."""
    return [".".join([name, *place]) for name, axes in arrays.items() for place in product(*axes)]


def _cells(values: Sequence[npt.NDArray[Any]]) -> list[str]:
    return ["" if math.isnan(value) else str(value) for each in values for value in np.ravel(each)]


def _frame_values(record: Any) -> Values:
    camera, sizes, rho = record.get("camera", {}), record["bytes"], record["rho"]
    return {
        "captured_at": np.array(float(record["captured_at"])),
        "age_ms": np.array(_number(record["age_ms"])),
        "link_bytes": np.array(_number(record.get("link_bytes"))),
        "bytes": np.array([int(sizes.get(name, 0)) for name in _OF_FRAME["bytes"][0]], np.int64),
        "rho": np.array([_number(rho.get(name)) for name in GROUP_NAMES], np.float32),
        "camera": np.array([_number(camera.get(name)) for name in _OF_FRAME["camera"][0]], np.float32),
    }


def _person_values(person: Any) -> Values:
    values = {name: np.array(_number(person.get(name)), np.float32) for name, axes in _OF_PERSON.items() if not axes}
    values |= {name: np.array(person[name], np.float32) for name in ("joints_3d", "keypoints_2d")}
    for name, names in (("seen", LIMBS), ("face", FACIAL_ACTIONS)):
        values[name] = np.array([_number(person.get(name, {}).get(each)) for each in names], np.float32)
    values["labels"] = _label_values(person.get("labels", {}))
    values["fingers"] = np.array(person.get("fingers", np.full((len(FINGER_BONES), 3), np.nan)), np.float32)
    for name, axes in _OF_PERSON.items():
        if values[name].shape != tuple(map(len, axes)):
            raise ValueError(f"{name} has another shape")
    return values


def _label_values(labels: Mapping[str, Any]) -> FloatArray:
    """(E,) entries of all groups."""
    given = {name: np.array(entries, np.float32) for name, entries in labels.items()}
    known = concatenate({name: np.ones_like(entries) for name, entries in given.items()}) > 0
    return np.where(known, concatenate(given), np.float32(np.nan))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
