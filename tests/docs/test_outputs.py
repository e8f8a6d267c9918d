"""The documented `frames.jsonl` record, the JSON Schema that ships, and what the receiver writes agree."""

import copy
import importlib.resources
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from common.body.anatomy import FACIAL_ACTIONS, FINGER_BONES
from common.frames import Camera
from common.labels import GROUP_NAMES, GROUPS
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.body.person_scale import PersonScale
from receiver.config import PublishConfig
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.publish.session_directory import SessionDirectory
from tests.support.receiver.published_session import OWNER

PAGE = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
SCHEMA = json.loads((importlib.resources.files("receiver.publish") / "frames.schema.json").read_text(encoding="utf-8"))


def validate(record: object) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(record)


@pytest.fixture
def example() -> dict[str, Any]:
    """The record in docs/outputs.md."""
    record: dict[str, Any] = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    return record


def test_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_example_is_valid(example: dict[str, Any]) -> None:
    validate(example)


def test_page_describes_every_key(example: dict[str, Any]) -> None:
    camera = SCHEMA["properties"]["camera"]["properties"]
    for key in [*SCHEMA["properties"], *SCHEMA["$defs"]["person"]["properties"], *camera]:
        assert f"`{key}`" in PAGE
    assert set(example) == {*SCHEMA["required"], "camera"}
    assert set(example["camera"]) == set(camera)


def test_schema_and_page_name_what_people_wear() -> None:
    schema, sets = (SCHEMA["$defs"]["person"]["properties"][key] for key in ("wears", "wears_sets"))
    assert tuple(schema["required"]) == tuple(VALUES)
    for name, values in VALUES.items():
        assert tuple(schema["properties"][name]["prefixItems"][0]["enum"]) == values
        assert tuple(sets["properties"][name]["items"]["enum"]) == values
        assert f"| `{name}` | {', '.join(f'`{value}`' for value in values)} |" in PAGE


def test_schema_names_the_facial_actions() -> None:
    face = SCHEMA["$defs"]["person"]["properties"]["face"]
    assert tuple(face["propertyNames"]["enum"]) == FACIAL_ACTIONS and face["minProperties"] == len(FACIAL_ACTIONS)


def test_schema_names_the_label_groups() -> None:
    assert tuple(SCHEMA["$defs"]["label_group"]["enum"]) == GROUP_NAMES


@pytest.mark.parametrize("left_out", [0, 16])
@pytest.mark.parametrize("people", [0, 1, 2])
@pytest.mark.parametrize(("age_ms", "clock_error_ms"), [(41.5, 0.2), (None, None), (float("nan"), float("inf"))])
def test_written_record_is_valid(
    tmp_path: Path, people: int, left_out: int, age_ms: float | None, clock_error_ms: float | None
) -> None:
    points = np.linspace(0, 1, 51, dtype=np.float32).reshape(17, 3)
    worn = Wears({name: np.eye(len(values), dtype=np.float32)[-1] for name, values in VALUES.items() if name != "hair"})
    persons = [
        PersonRecord(
            *(number, 0.9, points, -points, f"meshes/000005-p{number}.glb", None),
            *((worn, PersonScale(1.7, 0.15, 1.2), ("bottom", "shoes")) if number else (None, None)),
        )
        for number in range(people)
    ]
    face = np.linspace(0, 1, len(FACIAL_ACTIONS), dtype=np.float32)
    fingers = np.full((len(FINGER_BONES), 3), -1.23456, np.float32)
    labels = {group.name: np.full(group.size, 0.12345, np.float32) for group in GROUPS}
    persons[1:] = [replace(person, activations=face, fingers=fingers, labels=labels) for person in persons[1:]]
    record = FrameRecord(
        sequence=5,
        source="clip.mp4",
        captured_at=1_800_000_000.1234567,
        age_ms=age_ms,
        clock_error_ms=clock_error_ms,
        bytes_by_group={"total": 60, "header": 29, "root": 31},
        rho={"root": 0.25},
        stages_ms={"surface": 23.4},
        people=tuple(persons),
        left_out=left_out,
        link_bytes=21_596 if people else None,
        camera=Camera(640, 480, 768.0) if people else None,
    )
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        assert directory.session("00ff", OWNER).append(record)
    (line,) = (tmp_path / "frames.jsonl").read_text().splitlines()
    validate(json.loads(line))
    assert ("left_out" in json.loads(line)) == bool(left_out)
    for number, person in enumerate(json.loads(line)["people"]):
        assert ("face" in person) == ("fingers" in person) == ("labels" in person) == bool(number)
        if number:
            assert tuple(person["face"]) == FACIAL_ACTIONS and person["face"]["browInnerUp"] == 0.04
            assert person["labels"] == {group.name: [0.123] * group.size for group in GROUPS}
            assert person["fingers"] == [[-1.235] * 3] * len(FINGER_BONES)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("seq"),
        lambda record: record.update(extra=1),
        lambda record: record.update(left_out=0),
        lambda record: record["bytes"].pop("total"),
        lambda record: record["bytes"].update(tail=1),
        lambda record: record["rho"].update(root=1.5),
        lambda record: record["people"][0]["keypoints_2d"].pop(),
        lambda record: record["people"][0]["joints_3d"][0].append(0.0),
        lambda record: record["people"][0].pop("surface"),
        lambda record: record.update(camera={"width": 640, "height": 480}),
    ],
)
def test_schema_refuses_other_records(example: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> None:
    record = copy.deepcopy(example)
    change(record)
    with pytest.raises(jsonschema.ValidationError):
        validate(record)
