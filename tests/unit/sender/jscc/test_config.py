"""The texts of `--channel` and the ranges of its options."""

from fractions import Fraction
from typing import Any

import pytest

from common.errors import UsageError
from common.io.configuration import read_config
from sender.__main__ import PROGRAM
from sender.config import SenderConfig
from sender.jscc.config import JsccConfig, parse_channel


@pytest.mark.parametrize(
    ("text", "kind", "snr_db"),
    [
        ("awgn:10dB", "awgn", 10.0),
        ("rayleigh:-1.5db", "rayleigh", -1.5),
        ("AWGN:+4", "awgn", 4.0),
        ("Fading:7dB", "awgn", 7.0),
    ],
)
def test_channel_is_read_from_text(text: str, kind: str, snr_db: float) -> None:
    channel = parse_channel(text, pilots=3)
    assert (channel.kind, channel.snr_db, channel.pilots) == (kind, snr_db, 3)


@pytest.mark.parametrize("text", ["", "awgn", "awgn:", "awgn:ten", "erasure:10dB", "10dB", "awgn:10dB ", "awgn:1e1dB"])
def test_other_texts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="awgn:10dB"):
        JsccConfig(channel=text)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"channel": "awgn:99dB"}, "between -30 and 60 dB"),
        ({"channel_rate": "0"}, "no bandwidth ratio"),
        ({"channel_rate": "1/0"}, "no bandwidth ratio"),
        ({"channel_rate": "some"}, "no bandwidth ratio"),
        ({"channel_rate": "1/200"}, "too low"),
        ({"channel_quality": 0.0}, "channel-quality"),
        ({"channel_pilots": -1}, "pilots"),
        ({"channel_pilots": 65}, "pilots"),
        ({"channel_side": 250}, "multiple of 16"),
        ({"channel_side": 1024}, "from 64 to 512"),
        ({"channel_fps": 0.0}, "above 0"),
        ({"channel_seed": -1}, "channel-seed"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        JsccConfig(**wrong)


def test_bad_channel_on_the_command_line_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="awgn, rayleigh or fading"):
        read_config(SenderConfig, PROGRAM, ["--channel", "wifi:3dB"], {})


def test_channel_fades_by_its_seed_alone() -> None:
    fading = [JsccConfig(channel="fading:7dB", channel_seed=seed).fading for seed in (1, 1, 2)]
    first, again, other = ([each.snr_db(time_s) for time_s in range(5)] for each in fading if each is not None)
    assert first == again != other
    assert JsccConfig(channel="awgn:7dB").fading is None and JsccConfig().fading is None


def test_without_a_channel_there_is_none() -> None:
    assert JsccConfig().state is None
    assert JsccConfig().rate == Fraction(1, 16)
