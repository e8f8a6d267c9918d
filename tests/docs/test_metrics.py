import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import receiver.metrics
import sender.metrics
from common.io.telemetry import publish_build
from common.version import build_versions
from receiver.link.refusals import Refusal
from receiver.metrics import ReceiverMetrics
from receiver.web.metrics import UPLOAD_STAGES, SignInOutcome, UploadOutcome, WebMetrics
from sender.metrics import SenderMetrics

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
SENDER, RECEIVER, WEB = PAGE.split("\n## ")[1:4]


def registry_of(program: str) -> CollectorRegistry:
    """The registry that a daemon exports, or that of the web part alone."""
    registry = CollectorRegistry()
    if program == "web":
        WebMetrics(registry)
        return registry
    publish_build(registry, program, build_versions())
    return (SenderMetrics(registry) if program == "sender" else ReceiverMetrics(registry)).registry


def exported(registry: CollectorRegistry) -> Iterator[tuple[str, str]]:
    """Name, as Prometheus shows it, and type of each metric."""
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        if name.startswith("bodywire_"):
            yield name, family.type


@pytest.mark.parametrize("program", ["sender", "receiver", "web"])
def test_every_metric_says_what_it_is(program: str) -> None:
    for family in registry_of(program).collect():
        assert len(family.documentation) > 8, family.name


@pytest.mark.parametrize(
    ("section", "fates", "others"),
    [
        (SENDER, sender.metrics.DropReason, {"offered", "sent", "acknowledged"}),
        (RECEIVER, receiver.metrics.DropReason, {"received", "published"}),
    ],
)
def test_page_lists_the_fates(section: str, fates: type[StrEnum], others: set[str]) -> None:
    documented = set(re.findall(r"^\| `([a-z_]+)` \| [^|]* \|$", section, flags=re.MULTILINE))
    assert documented == {fate.value for fate in fates} | others


def test_page_lists_the_reasons_of_refusals() -> None:
    paragraph = re.findall(r"^Reasons of refused streams: (.*?)\n\n", RECEIVER, flags=re.MULTILINE | re.DOTALL)[0]
    assert re.findall(r"`([a-z]+)`\s\(", paragraph) == [refusal.value for refusal in Refusal]


def test_page_lists_the_outcomes_and_stages_of_the_web() -> None:
    quoted = set(re.findall(r"`([a-z]+)`", WEB.rpartition("|\n")[2]))
    assert quoted >= {*UploadOutcome, *SignInOutcome, *UPLOAD_STAGES}


@pytest.mark.parametrize("program", ["sender", "receiver", "web"])
def test_names_follow_the_conventions(program: str) -> None:
    for name, kind in exported(registry_of(program)):
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|bps|kbps|mb|kb|percent|milliseconds|bits)(_|$)", name), f"{name}: not in base units"
