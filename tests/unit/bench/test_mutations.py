"""The bench that decodes mutated packets."""

from binascii import crc_hqx
from collections import Counter
from pathlib import Path

import pytest

from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.codec.packet import code_references
from common.codec.range_coder import SymbolReader
from common.errors import SourceError, UsageError
from tests.bench import mutations
from tests.bench.mutations import OUTCOMES, Tally, crc16, decode_chunk, main, outcome_of, passes_check
from tests.support.packet_mutations import stream


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(mutations, "CHUNK", 90)
    return 90


def test_crc_is_that_of_the_packet_format() -> None:
    assert crc16(b"123456789") == 0x31C3 == crc_hqx(b"123456789", 0)


def test_check_of_a_right_packet_passes_and_of_a_damaged_one_fails() -> None:
    decoder, packets, _ = stream()
    assert passes_check(decoder, packets[20], 20)
    assert not passes_check(decoder, packets[20], 19)
    assert not passes_check(decoder, packets[20][:-1] + bytes([packets[20][-1] ^ 1]), 20)


def test_damaged_packet_fails_its_check_and_an_unknown_reference_is_told_apart() -> None:
    decoder, packets, _ = stream()
    assert outcome_of(decoder, packets[20][:-1] + bytes([packets[20][-1] ^ 1]), 20) == ("check_failed", "")
    assert outcome_of(FrameCodec(bytes(8)), packets[20], 20) == ("reference_missing", "")
    assert outcome_of(decoder, b"\0", 20) == ("malformed", "")


def test_packet_that_passes_but_has_no_stream_of_its_length_is_counted_as_such() -> None:
    decoder, packets, _ = stream()
    lags = code_references(SymbolReader(decoder._tables, packets[20][:-2]), None)
    references = decoder._find_references(20, lags)
    body = packets[20][:-2] + bytes(40)
    payload = body + crc16(decoder._seed(20, references) + body).to_bytes(2, "little")
    assert outcome_of(decoder, payload, 20) == ("passed_but_refused", "")


class _CrashingDecoder(FrameCodec):
    def decode(self, payload: bytes, sequence: int) -> DecodedFrame:
        raise ZeroDivisionError("division by zero")


def test_other_exception_is_a_fault() -> None:
    assert outcome_of(_CrashingDecoder(bytes(8)), b"", 0) == ("fault", "ZeroDivisionError: division by zero")


class _CarelessDecoder(FrameCodec):
    """Decodes each packet as the frame's right one."""

    def decode(self, payload: bytes, sequence: int) -> DecodedFrame:
        return stream()[2][sequence]


def test_accepted_packet_with_a_wrong_check_is_a_fault() -> None:
    _, packets, _ = stream()
    decoder = _CarelessDecoder(b"bodywire")
    for state in stream()[0]._received.values():
        decoder._remember(decoder._received, state)
    assert outcome_of(decoder, packets[20], 20) == ("accepted", "")
    assert outcome_of(decoder, packets[20] + b"\0", 20) == ("fault", "accepted with a wrong check")


def test_chunk_accounts_for_each_mutation_and_repeats_itself(small_chunks: int) -> None:
    chunk = decode_chunk(41, 7)
    assert sum(chunk.outcomes.values()) == small_chunks
    assert set(chunk.outcomes) <= set(OUTCOMES) and not chunk.faults
    assert decode_chunk(41, 7).outcomes == chunk.outcomes != decode_chunk(42, 7).outcomes


def test_run_goes_on_where_the_one_before_ended(small_chunks: int, tmp_path: Path) -> None:
    once, twice = tmp_path / "once.json", tmp_path / "twice.json"
    assert main(["--count", str(4 * small_chunks), "--state", str(once)]) == 0
    assert main(["--count", str(small_chunks), "--state", str(twice)]) == 0
    assert Tally.read(twice, 41).chunks == 1
    assert main(["--count", str(4 * small_chunks), "--state", str(twice), "--workers", "2"]) == 0
    assert twice.read_text() == once.read_text()


def test_state_of_another_seed_is_refused(tmp_path: Path) -> None:
    Tally(41).write(tmp_path / "state.json")
    with pytest.raises(UsageError, match="--seed 41"):
        Tally.read(tmp_path / "state.json", 42)


def test_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"seed": 41}')
    with pytest.raises(SourceError, match="no state of this bench"):
        Tally.read(tmp_path / "state.json", 41)


def test_fault_is_printed_and_ends_the_bench_with_1(
    monkeypatch: pytest.MonkeyPatch, small_chunks: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally(41)
    tally.add(mutations.Chunk(Counter({"fault": 1}), ["KeyError: 3 (frame 1, packet 00)"], 0, 0))
    tally.write(tmp_path / "state.json")
    assert main(["--count", str(small_chunks), "--state", str(tmp_path / "state.json")]) == 1
    assert "KeyError: 3" in capsys.readouterr().err


def test_expected_accidents_are_one_in_65536_that_reached_the_check() -> None:
    tally = Tally(41)
    tally.outcomes = Counter({"check_failed": 65_535, "accepted": 1, "reference_missing": 1000})
    assert tally.figures()["expected_to_pass_mean"] == 1.0
    assert tally.figures()["passed_check"] == 1
