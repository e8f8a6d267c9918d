"""The stage encodes frames beside the labels, at its own rate, for receivers that take them."""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.blobs import SIGNAL
from common.channel.physical import carry_picture
from common.channel.signal_blob import SignalBlob
from common.errors import OutputError
from common.frames import Camera
from common.wire.convert import ChannelReport
from sender.capture.source import CapturedFrame
from sender.jscc import stage as stages
from sender.jscc.config import JsccConfig
from sender.jscc.stage import JsccStage
from sender.metrics import SenderMetrics
from tests.support.scripted_receiver import WELCOME
from tests.support.tiny_diffusion_decoder import tiny_decoder
from tests.support.tiny_image_channel import tiny_network

CONFIG = JsccConfig(channel="awgn:4dB", channel_view="frame", channel_side=64, channel_rate="1/8", channel_seed=9)
_LONG_S = 60.0


def stage(config: JsccConfig = CONFIG, *, takes_signals: bool = True) -> JsccStage:
    assert config.state is not None
    made = JsccStage(config, config.state, SenderMetrics(), tiny_network(), tiny_decoder())
    made.connected(replace(WELCOME, takes_signals=takes_signals))
    return made


def frame(number: int, time_s: float) -> CapturedFrame:
    image = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
    return CapturedFrame(number, "clip.mp4", 1000.0 + time_s, time_s, image, Camera(64, 64, 80.0))


def pictures(made: JsccStage, frames: list[CapturedFrame], count: int) -> list[SignalBlob]:
    """Offers the frames one after the other; returns this many pictures, the last when it is there."""
    found: list[SignalBlob] = []
    for each in frames:
        found += collected(made, each, min(count - len(found), 1))
    made.close()
    return found


def collected(made: JsccStage, each: CapturedFrame, count: int = 1) -> list[SignalBlob]:
    """Offers a frame, and waits for this many pictures."""
    found = made.update(each, (), ())
    deadline = time.monotonic() + _LONG_S
    while len(found) < count and time.monotonic() < deadline:
        # A frame that is not due only collects.
        found += made.update(replace(each, media_time_s=-1.0), (), ())
        time.sleep(0.005)
    assert all(blob.kind == SIGNAL and blob.key == 0 for blob in found)
    return [SignalBlob.decode(blob.data) for blob in found]


def test_frame_becomes_symbols_within_the_bandwidth_ratio() -> None:
    made = stage()
    (found,) = pictures(made, [frame(5, 0.0)], 1)
    assert (found.sequence, found.captured_at, found.seed) == (5, 1000.0, 9)
    assert found.channel.snr_db == 4.0 and found.signal.size == (64, 64)
    assert "1 pictures for awgn:4dB" in made.summary()
    uses = len(found.signal.symbols) + found.signal.side_uses + 64
    assert uses <= 3 * 64 * 64 / 8


def test_equal_seeds_give_equal_symbols_and_noise() -> None:
    first, second = (pictures(stage(), [frame(5, 0.0)], 1)[0] for _ in range(2))
    assert first.encode() == second.encode()
    arrived = [carry_picture(each.channel, each.signal.symbols, each.seed, each.sequence) for each in (first, second)]
    assert arrived[0].received.symbols.equal(arrived[1].received.symbols)


def test_frames_are_taken_at_the_rate_of_the_option() -> None:
    made = stage(replace(CONFIG, channel_fps=10.0))
    frames = [frame(number, number / 30) for number in range(10)]
    due: list[int] = []
    for each in frames:
        taken = len(due)
        if pictures_due(made, each):
            due.append(each.sequence)
        assert len(due) - taken <= 1
    made.close()
    assert due == [0, 3, 6, 9]


def pictures_due(made: JsccStage, each: CapturedFrame) -> bool:
    """Whether the stage takes a frame: the time of the next one moves."""
    before = made.due_s
    made.update(each, (), ())
    return made.due_s != before


def test_older_receiver_gets_none_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = stage(takes_signals=False)
        made.connected(replace(WELCOME, takes_signals=False))
    assert caplog.text.count("earlier version") == 1
    assert not pictures_due(made, frame(0, 0.0))
    made.close()
    assert "no pictures" in made.summary()


def test_picture_that_does_not_fit_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    made = stage(replace(CONFIG, channel_rate="1/95"))
    with caplog.at_level(logging.WARNING):
        made.update(frame(0, 0.0), (), ())
        deadline = time.monotonic() + _LONG_S
        while "left out" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.005)
        made.close()
    assert "channel-rate is too low" in caplog.text and made.update(frame(1, 0.0), (), ()) == []


def test_people_in_the_window_get_more_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    upper = np.zeros((4, 4), np.uint8)
    upper[:2] = 1
    shares = []
    for importance in (None, upper):
        monkeypatch.setattr(stages, "importance_of", lambda *_, found=importance: found)
        (found,) = pictures(stage(replace(CONFIG, channel_rate="1/16")), [frame(5, 0.0)], 1)
        shares.append(float(found.lengths[0, :2].sum() / found.lengths.sum()))
        assert found.signal.payload_uses + found.signal.side_uses + 64 <= 3 * 64 * 64 / 16
    assert shares[1] > shares[0] + 0.03


def test_wanted_quality_takes_fewer_channel_uses() -> None:
    whole, few = (
        pictures(stage(replace(CONFIG, channel_quality=quality)), [frame(5, 0.0)], 1)[0] for quality in (None, 1.0)
    )
    assert len(few.signal.symbols) == 4 * 16 < len(whole.signal.symbols)


def test_symbols_are_made_for_what_the_receiver_measured() -> None:
    made = stage(replace(CONFIG, channel="fading:7dB"))
    frames = [frame(number, 0.2 * number) for number in range(3)]
    (first,) = collected(made, frames[0])
    made.channel_measured(ChannelReport(0, 4.0))
    made.channel_measured(ChannelReport(99, 15.0))
    (second,) = collected(made, frames[1])
    made.reset()
    (third,) = collected(made, frames[2])
    made.close()
    fading = made._config.fading
    assert fading is not None
    simulated = [each.channel.snr_db for each in (first, second, third)]
    assert simulated == [fading.snr_db(0.2 * number) for number in range(3)]
    # At lower SNRs the side information takes more of the channel: it is coded for what the sender assumes.
    assert second.signal.side_uses > 1.5 * first.signal.side_uses
    assert third.signal.side_uses < 1.2 * first.signal.side_uses, "another source: measurements no longer count"


def test_report_has_the_quality_of_each_picture(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    made = stage(replace(CONFIG, channel_report=report))
    pictures(made, [frame(0, 0.0), frame(6, 0.2)], 2)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["sequence"] for line in lines] == [0, 6]
    assert all(line["psnr_db"] > 0 and 0 < line["bandwidth_ratio"] <= 1 / 8 for line in lines)
    assert "PSNR" in made.summary()
    with pytest.raises(OutputError, match="--channel-report"):
        stage(replace(CONFIG, channel_report=tmp_path / "missing" / "report.jsonl"))
