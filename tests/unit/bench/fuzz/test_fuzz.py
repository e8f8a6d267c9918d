"""The targets of the fuzzer, without it; and one of them with it, where it is installed."""

import contextlib
from pathlib import Path
from random import Random

import pytest

from common.errors import BodywireError, ChecksumMismatch, MalformedPacket
from tests.bench.fuzz.__main__ import TARGETS, main, parse
from tests.bench.fuzz.targets import Packets, Target, targets
from tests.support.packet_mutations import KINDS


@pytest.fixture(scope="module")
def all_targets() -> dict[str, Target]:
    return dict(targets())


def test_flag_and_targets_have_the_same_names(all_targets: dict[str, Target]) -> None:
    assert set(TARGETS) == set(all_targets)


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"packet", "content"}))
def test_seeds_decode(all_targets: dict[str, Target], name: str) -> None:
    seeds = list(all_targets[name].seeds())
    assert seeds
    for seed in seeds:
        all_targets[name].decode(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_are_refused_or_valid(all_targets: dict[str, Target], name: str) -> None:
    target, rng = all_targets[name], Random(name)
    seeds = list(target.seeds())
    for number in range(60):
        data = bytearray(rng.choice(seeds))
        if data:
            KINDS[number % len(KINDS)](data, rng, seeds)
        with contextlib.suppress(*target.refusals):
            target.decode(bytes(data))


def test_content_reaches_behind_the_check() -> None:
    """A packet as another frame: its check refuses it, and with the right check its content does."""
    packets = Packets()
    with pytest.raises(ChecksumMismatch, match="damaged"):
        packets.decode(list(packets.seeds())[-1])
    with pytest.raises(MalformedPacket, match="the stream has"):
        packets.decode_sealed(list(packets.bodies())[-1])


def test_faults_are_reported(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    options = parse(["--targets", "blob", "--minutes", "0.02", "--out", str(tmp_path)])
    main(options)
    assert list((tmp_path / "corpus/blob").iterdir())
    fault = tmp_path / "corpus/blob/fault"
    fault.mkdir()
    (tmp_path / "corpus/blob/seed-0").unlink()
    (tmp_path / "corpus/blob/seed-0").mkdir()
    with pytest.raises(BodywireError, match="did not start"):
        main(options)
