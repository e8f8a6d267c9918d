"""Hostile packets: each input that was found by coverage is refused or right, and a wrong decoder would be noticed."""

from collections.abc import Callable

import pytest

from common.codec import frame_codec
from common.wire import convert, frame_messages
from tests.bench.campaigns.campaign import NumberedPart
from tests.bench.campaigns.packets import SHARES, Fuzzer, table
from tests.netlab.hostile import fuzz


@pytest.fixture(scope="module")
def fuzzer() -> Fuzzer:
    return Fuzzer()


def test_inputs_that_were_found_by_coverage_are_refused_or_right(fuzzer: Fuzzer) -> None:
    assert fuzz.CORPUS.stat().st_size < 40_000
    assert fuzzer.taken.keys() == fuzz.TARGETS.keys()
    assert all(verdicts[taken] for verdicts in fuzzer.taken.values() for taken in (True, False))


def test_mutations_are_refused_or_right_and_some_of_each_are_decoded(fuzzer: Fuzzer) -> None:
    line = fuzzer.run(NumberedPart(1, 0, 3000))
    assert not line["failure"]
    figures = table([line, line])
    assert figures["all"]["inputs"] == 2 * line["inputs"] > 5900
    assert figures["packets"]["taken_share"] < 0.01 and figures["packets with right checks"]["taken_share"] > 0.1
    assert all(figures[name]["taken_share"] > 0.05 for name in SHARES if "messages" in name or "datagrams" in name)


@pytest.mark.parametrize(
    ("target", "module", "check", "instead"),
    [
        ("packets", frame_codec, "_check_content", lambda _: None),
        ("messages of senders", convert, "require", lambda *_: None),
        ("messages of receivers", convert, "printable", lambda text, _: text),
        ("datagrams of receivers", frame_messages, "require_times_us", lambda *_: None),
    ],
)
def test_missing_check_is_found(
    target: str, module: object, check: str, instead: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, check, instead)
    decoder = fuzz.TARGETS[target]()
    with pytest.raises((AssertionError, ValueError)):
        for data in fuzz.of_target(fuzz.read_corpus())[target]:
            decoder.take(data)
