import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import receiver.metrics
import sender.metrics
from receiver.link.refusals import Refusal
from receiver.metrics import ReceiverMetrics
from sender.metrics import SenderMetrics

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
SENDER, RECEIVER = PAGE.split("\n## ")[1:3]


def exported(registry: CollectorRegistry) -> Iterator[tuple[str, str]]:
    """Name, as Prometheus shows it, and type of each metric."""
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        if name.startswith("bodywire_"):
            yield name, family.type


@pytest.mark.parametrize(("section", "metrics"), [(SENDER, SenderMetrics()), (RECEIVER, ReceiverMetrics())])
def test_page_lists_the_metrics_that_exist(section: str, metrics: SenderMetrics | ReceiverMetrics) -> None:
    documented = re.findall(r"^\| `(bodywire_\w+)` \| (\w+) \|", section, flags=re.MULTILINE)
    assert sorted(documented) == sorted(exported(metrics.registry))


@pytest.mark.parametrize(
    ("section", "fates", "others"),
    [
        (SENDER, sender.metrics.FrameFate, {"sent", "acknowledged"}),
        (RECEIVER, receiver.metrics.FrameFate, {"received", "published"}),
    ],
)
def test_page_lists_the_fates(section: str, fates: type[StrEnum], others: set[str]) -> None:
    documented = set(re.findall(r"^\| `([a-z]+)` \| [^|]* \|$", section, flags=re.MULTILINE))
    assert documented == {fate.value for fate in fates} | others


def test_page_lists_the_reasons_of_refusals() -> None:
    paragraph = re.findall(r"^Reasons of refused streams: (.*?)\n\n", RECEIVER, flags=re.MULTILINE | re.DOTALL)[0]
    assert re.findall(r"`([a-z]+)`\s\(", paragraph) == [refusal.value for refusal in Refusal]


def test_queries_name_existing_metrics() -> None:
    names = {name for metrics in (SenderMetrics(), ReceiverMetrics()) for name, _ in exported(metrics.registry)}
    for name in re.findall(r"bodywire_\w+", PAGE):
        assert name in names or name.removesuffix("_bucket") in names
