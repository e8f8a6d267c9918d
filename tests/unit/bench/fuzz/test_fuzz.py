"""The targets of the fuzzer, without it; and one of them with it, where it is installed."""

import contextlib
from pathlib import Path
from random import Random

import pytest

from common.errors import ChecksumMismatch, MalformedPacket
from tests.bench.fuzz.__main__ import TARGETS, main
from tests.bench.fuzz.targets import Packets, Target, targets
from tests.support.packet_mutations import KINDS


@pytest.fixture(scope="module")
def all_targets() -> dict[str, Target]:
    return dict(targets())


def test_seeds_decode_and_mutations_are_refused_or_valid(all_targets: dict[str, Target]) -> None:
    assert set(TARGETS) == set(all_targets)
    for name, target in all_targets.items():
        seeds, rng = list(target.seeds()), Random(name)
        assert seeds, name
        for seed in seeds if name not in ("packet", "content") else ():
            target.decode(seed)
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


def test_faults_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("atheris")
    flags = ["--targets", "blob", "--minutes", "0.02", "--out", str(tmp_path)]
    assert main(flags) == 0
    assert list((tmp_path / "corpus/blob").iterdir())
    (tmp_path / "corpus/blob/seed-0").unlink()
    (tmp_path / "corpus/blob/seed-0").mkdir()
    assert main(flags) == 1
    assert "did not start" in capsys.readouterr().err
