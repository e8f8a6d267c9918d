"""The ranges of `--channel` and `--channel-rate`."""

from fractions import Fraction
from typing import Any

import pytest

from common.channel.state import ChannelState
from common.errors import UsageError
from common.io.command_line import read_config
from sender.__main__ import PROGRAM
from sender.config import JsccConfig, SenderConfig


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"channel": "awgn:99dB"}, "between -30 and 60 dB"),
        ({"channel_rate": "0"}, "no bandwidth ratio"),
        ({"channel_rate": "1/0"}, "no bandwidth ratio"),
        ({"channel_rate": "some"}, "no bandwidth ratio"),
        ({"channel_rate": "1/192"}, "too low: use more than 1/192"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        JsccConfig(**wrong)


def test_bad_channel_on_the_command_line_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="give awgn or rayleigh"):
        read_config(SenderConfig, PROGRAM, ["--channel", "wifi:3dB"], {})


def test_channel_and_rate_are_read_and_without_a_channel_there_is_none() -> None:
    assert JsccConfig("rayleigh:4dB").state == ChannelState(4.0, "rayleigh")
    assert (JsccConfig().state, JsccConfig().rate) == (None, Fraction(1, 16))
