"""Signals in files, and budgets of channel uses."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from common.channel.signal import Signal, payload_uses
from common.errors import OutputError, SourceError, UsageError

SIGNAL = Signal(torch.ones(90, dtype=torch.complex64), torch.ones(1, 4, 1, 1), (40, 33), 100, 20, 7.0)


def test_read_back_as_written(tmp_path: Path) -> None:
    SIGNAL.write(tmp_path / "signal.npz")
    again = Signal.read(tmp_path / "signal.npz")
    assert torch.equal(again.symbols, SIGNAL.symbols) and torch.equal(again.hyper_latents, SIGNAL.hyper_latents)
    assert (again.size, again.payload_uses, again.side_uses, again.snr_db) == ((40, 33), 100, 20, 7.0)
    with pytest.raises(SourceError, match="no such file"):
        Signal.read(tmp_path / "none.npz")
    with pytest.raises(OutputError, match="cannot write"):
        SIGNAL.write(tmp_path / "none" / "signal.npz")


def test_rate_counts_symbols_pilots_and_side_information() -> None:
    assert SIGNAL.rate() == pytest.approx(110 / (3 * 40 * 33))
    assert SIGNAL.rate(data_share=0.5) == pytest.approx(200 / (3 * 40 * 33))
    assert SIGNAL.grid == (3, 3) and float(SIGNAL.mean_length) == pytest.approx(100 / 9)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY"])
def test_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(SourceError, match="not a signal"):
        Signal.read(tmp_path / "other.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"size": [0, 5]},
        {"size": [5, 100_000]},
        {"symbols": np.full(4, np.nan, np.complex64)},
        {"symbols": np.ones((2, 2), np.complex64)},
        {"symbols": np.ones(101, np.complex64)},
        {"hyper_latents": np.ones(3)},
        {"payload_uses": "many"},
    ],
)
def test_inconsistent_fields_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "signal.npz"
    SIGNAL.write(path)
    with np.load(path) as archive:
        fields = dict(archive)
    np.savez(path, **{**fields, **change})
    with pytest.raises(SourceError, match="not a signal"):
        Signal.read(path)


def test_payload_is_what_side_information_and_pilots_leave() -> None:
    assert payload_uses(Fraction(1, 16), (64, 64), side_uses=68, data_share=0.5) == 350


def test_too_low_rate_names_one_that_suffices() -> None:
    with pytest.raises(UsageError, match=r"--rate 1/400 .* at least 1/170"):
        payload_uses(Fraction(1, 400), (64, 64), side_uses=8, data_share=1.0)
    payload_uses(Fraction(1, 170), (64, 64), side_uses=8, data_share=1.0)
