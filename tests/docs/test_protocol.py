import re
from pathlib import Path

import pytest

from common.codec.packet import CODEC_VERSION
from common.labels import GROUPS
from common.wire import convert

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_versions() -> None:
    assert f"Protocol version {convert.PROTOCOL_VERSION}, codec version {CODEC_VERSION}." in PAGE


@pytest.mark.parametrize(("name", "value"), re.findall(r"^\| `(MAX_\w+)` \| (\d+) \|", PAGE, flags=re.MULTILINE))
def test_limits(name: str, value: str) -> None:
    assert getattr(convert, name) == int(value)


def test_label_groups() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (every frame|on change) \|", PAGE, flags=re.MULTILINE)
    expected = [(group.name, str(group.size), "every frame" if group.fast else "on change") for group in GROUPS]
    assert rows == expected


def test_acknowledgement_statuses() -> None:
    for status in convert.AckStatus:
        assert f"`{status.name}`" in PAGE
