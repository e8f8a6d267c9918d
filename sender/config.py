"""All options of the sender."""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

from common.channel.state import LENGTHS, ChannelState, bandwidth_ratio
from common.errors import UsageError
from common.frames import MAX_FOCAL_PX, MAX_PEOPLE, MIN_FOCAL_PX
from common.imaging.grid import STRIDE
from common.io.addresses import Address
from common.io.command_line import option
from common.io.config import LogConfig, MetricsConfig
from common.weights.threads import DeviceConfig
from sender.link.diagnosis import CredentialFiles, SecurityConfig
from sender.rate.policy import RateConfig

_MAX_FPS = 1000.0
STILLS_PREFIX, LIVE_PREFIX = "socket:", "socket+live:"


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """Where the frames come from."""

    camera: tuple[str, ...] = option(
        ("demo",),
        help="camera number or device, video, image, folder, glob, rtsp:// URL, demo, demo-photos, socket[+live]:PATH; "
        "again for each further camera",
    )
    camera_size: str | None = option(None, help="size of a camera's frames, 1280x720")
    camera_fps: float | None = option(None, help="frames a second of a camera", advanced=True)
    focal_px: float | None = option(
        None, help="focal length in pixels (default: from EXIF data, else 1.2 times the longer side)"
    )

    def __post_init__(self) -> None:
        if not self.camera or not all(self.camera):
            raise ValueError("--camera is empty: give a camera, a file, or demo")
        places = list(map(_place, self.camera))
        for number, place in enumerate(places):
            if (same := places.index(place)) < number:
                # Without its text, which may have a password.
                raise ValueError(f"cameras {same + 1} and {number + 1} of --camera are the same one: give it once")
        if self.camera_size is not None and re.fullmatch(r"[1-9]\d{1,4}x[1-9]\d{1,4}", self.camera_size) is None:
            raise ValueError(f"--camera-size {self.camera_size}: give width and height in pixels, such as 1280x720")
        if self.camera_fps is not None and not 1 <= self.camera_fps <= _MAX_FPS:
            raise ValueError(f"--camera-fps must lie in 1…{_MAX_FPS:g}, not {self.camera_fps:g}")
        if self.focal_px is not None and not MIN_FOCAL_PX <= self.focal_px <= MAX_FOCAL_PX:
            raise ValueError(f"--focal-px must lie in {MIN_FOCAL_PX:g}…{MAX_FOCAL_PX:g}, not {self.focal_px}")

    @property
    def only_camera(self) -> str:
        """The camera, of a configuration of one."""
        (camera,) = self.camera
        return camera

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of a camera's frames, pixels; None leaves it to the driver."""
        if self.camera_size is None:
            return None
        width, height = map(int, self.camera_size.split("x"))
        return width, height


def _place(camera: str) -> str:
    """Where a camera is, which may be written in several ways."""
    path = f"/dev/video{camera}" if camera.isdecimal() else camera
    return os.path.realpath(path.removeprefix(STILLS_PREFIX).removeprefix(LIVE_PREFIX))


# The ratio of pictures whose positions all have the smallest length.
_LEAST_RATE = Fraction(LENGTHS[0], 3 * STRIDE**2)


@dataclass(frozen=True, slots=True)
class JsccConfig:
    """Pictures of the largest person over a simulated noisy channel, for studies."""

    channel: str | None = option(
        None, help="send pictures over a simulated channel: awgn:10dB or rayleigh:10dB", advanced=True
    )
    channel_rate: str = option(
        "1/16", help="bandwidth ratio: most channel uses per colour value of a pixel", advanced=True
    )

    def __post_init__(self) -> None:
        if self.channel is not None:
            ChannelState.from_text(self.channel)
        if self.rate <= _LEAST_RATE:
            raise ValueError(f"channel-rate {self.channel_rate} is too low: use more than {_LEAST_RATE}")

    @property
    def rate(self) -> Fraction:
        """The bandwidth ratio; raises ValueError."""
        return bandwidth_ratio(self.channel_rate)

    @property
    def state(self) -> ChannelState | None:
        """The simulated channel; None without one."""
        return None if self.channel is None else ChannelState.from_text(self.channel)


_DEFAULT_PEER = Address("127.0.0.1", 50051)
# A frame with its answer every second.
_LEAST_BUDGET_KBIT = 1.0
# Budgets below it leave more time between messages beside frames, since each costs about as much as a frame.
_UNHURRIED_BPS = 50_000.0
# Receivers report a sender that is silent for 1.25 s.
_MOST_INTERVAL_S = 1.1
# Heartbeat intervals between two comparisons of the clocks, and the longest time.
_COMPARISON_INTERVALS, _MOST_COMPARISON_INTERVAL_S = 5.0, 30.0
# Of an IP packet that begins a QUIC connection, and of its answer.
_FIRST_PACKET_BYTES = 1228
# Share of the budget that padding may take.
_PROBE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Where the receiver is, and how long to try to reach it."""

    peer: Address = option(_DEFAULT_PEER, help="receiver, host:port")
    transport: Literal["auto", "grpc", "quic"] = option(
        "auto", help="quic: fewer bytes, over UDP; auto: quic where it is answered", advanced=True
    )
    connect_timeout: float = option(30.0, help="seconds to reach the receiver at the start", advanced=True)
    reconnect_timeout: float = option(
        120.0, help="seconds to reconnect after a loss, until a frame is acknowledged", advanced=True
    )
    budget_kbit: float | None = option(None, help="most kbit/s of everything, both ways; labels come first")
    probe_kbit: float = option(5.0, help="most kbit/s of padding that measures the capacity; 0 for none", advanced=True)
    # Most unacknowledged frames; the congestion window leaves fewer where these fill the link.
    window: int = 8
    # Most milliseconds between keepalives: a dead peer is found within a second.
    heartbeat_interval_ms: float = 200.0

    @property
    def names_peer(self) -> bool:
        """Whether a receiver was configured, be it the default one."""
        return self.peer is not _DEFAULT_PEER

    @property
    def budget_bps(self) -> float:
        """Most bits per second of everything on the link; infinite without `--budget-kbit`."""
        return math.inf if self.budget_kbit is None else 1e3 * self.budget_kbit

    @property
    def round_trip_s(self) -> float:
        """What the first round trip of a connection may take, because a link has no more than the budget."""
        return 2 * 8 * _FIRST_PACKET_BYTES / self.budget_bps

    @property
    def probe_bps(self) -> float:
        """Most bits per second of padding."""
        return min(1e3 * self.probe_kbit, _PROBE_SHARE * self.budget_bps)

    @property
    def heartbeat_interval_s(self) -> float:
        """Most seconds between keepalives, within the budget."""
        interval_s = self.heartbeat_interval_ms / 1e3
        return max(min(self.pause_factor * interval_s, _MOST_INTERVAL_S), interval_s)

    @property
    def comparison_interval_s(self) -> float:
        """Seconds between two comparisons of the clocks, which drift by a millisecond in five seconds at most."""
        intervals_s = _COMPARISON_INTERVALS * self.heartbeat_interval_ms / 1e3
        return max(min(self.pause_factor * intervals_s, _MOST_COMPARISON_INTERVAL_S), intervals_s)

    @property
    def pause_factor(self) -> float:
        """How many times longer a small budget makes the pauses between heartbeats and between reports."""
        return max(_UNHURRIED_BPS / self.budget_bps, 1.0)

    def without_timeouts(self) -> Self:
        """The same configuration, without limits on the time to connect."""
        return replace(self, connect_timeout=math.inf, reconnect_timeout=math.inf)

    def __post_init__(self) -> None:
        if self.connect_timeout <= 0 or self.reconnect_timeout <= 0:
            raise ValueError("connect_timeout and reconnect_timeout must be above 0")
        if self.budget_kbit is not None and not _LEAST_BUDGET_KBIT <= self.budget_kbit < math.inf:
            raise ValueError(f"budget_kbit {self.budget_kbit} is not a number of at least {_LEAST_BUDGET_KBIT:g}")
        if not 0 <= self.probe_kbit < math.inf:
            raise ValueError(f"probe_kbit {self.probe_kbit} is not a number of at least 0")


Keypoints = Literal["fused", "ours"]

# People tracked in files without --max-people.
_PEOPLE_IN_FILES = 8
# Without it, only people of this share of the tallest one's height are tracked: smaller ones are usually passers-by.
_PROMINENT_HEIGHT_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Limits of the tracker.

    Args:
        max_people: tracks at a time.
        least_height_share: a person of a smaller share of the tallest one's height gets no track.
        forget_s: a person who is not seen for longer gets a new identity on return.
    """

    max_people: int = 1
    least_height_share: float = 0.0
    forget_s: float = 1.7


Quality = Literal["auto", "full", "fast"]


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """Who is found, and how many are tracked."""

    max_people: int | None = option(
        None,
        help="most people tracked (default: up to 8, of a live source what the machine carries, up to 4; "
        "nobody less than 0.4 times as tall as the tallest)",
    )
    keypoints: Keypoints = option(
        "fused",
        help="keypoints in the picture: ours fused with MoveNet's, which are more exact, or ours alone, faster",
        advanced=True,
    )

    quality: Quality = option(
        "auto",
        help="of videos: full reads each frame as well as it can be, fast every other one, by smaller networks; auto: "
        "fast where full takes a core more than 45 ms a person",
    )

    def __post_init__(self) -> None:
        if self.max_people is not None and not 1 <= self.max_people <= MAX_PEOPLE:
            raise ValueError(f"--max-people must be between 1 and {MAX_PEOPLE}, not {self.max_people}")

    def limits(self, *, carried: Callable[[], int] | None) -> TrackerConfig:
        """The tracker's limits.

        Args:
            carried: of a live source: how many people this machine can follow; called if it matters.
        """
        if self.max_people is not None:
            return TrackerConfig(max_people=self.max_people)
        people = _PEOPLE_IN_FILES if carried is None else carried()
        return TrackerConfig(max_people=people, least_height_share=_PROMINENT_HEIGHT_SHARE)


VIDEO_FORMATS = {".mp4": "mp4", ".avi": "avi", ".mkv": "matroska"}
"""FFmpeg's container name for each suffix of a video."""


@dataclass(frozen=True, slots=True)
class PreviewConfig:
    """Where perception's output is shown, and what the receiver may show."""

    preview: Path | None = option(None, help="write masks, keypoints and scores to a video (.mp4, .avi, .mkv)")
    share_preview: bool = option(False, help="send small pictures of what the camera sees, up to 4 kB/s")

    def __post_init__(self) -> None:
        if self.preview is not None and self.preview.suffix.lower() not in VIDEO_FORMATS:
            raise ValueError(f"--preview {self.preview}: give a video that ends in {', '.join(VIDEO_FORMATS)}")


@dataclass(frozen=True, slots=True)
class SmoothingConfig:
    """How much labels are smoothed; the default lags a moving person by less than a frame at 30 fps."""

    smoothing: float = option(
        1.0, help="smoothing of labels over time: 0 none, larger values remove more jitter", advanced=True
    )

    def __post_init__(self) -> None:
        if not 0.0 <= self.smoothing <= 10.0:
            raise ValueError(f"--smoothing must be between 0 and 10, not {self.smoothing:g}")


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """Which frames are delivered."""

    delivery: Literal["live", "complete"] | None = option(
        None,
        help="live: newest frames; complete: all, also after restarts (default: cameras live, files wait)",
    )
    spool: Path = option(
        Path("spool"), help="directory for undelivered frames under --delivery complete", advanced=True
    )
    spool_limit_mb: float = option(1000.0, help="megabytes in the spool at which the source waits", advanced=True)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.spool_limit_mb) and self.spool_limit_mb > 0):
            raise ValueError(f"--spool-limit-mb must be above 0, not {self.spool_limit_mb}")

    def is_live(self, *, camera: bool) -> bool:
        """Whether stale frames are dropped, with a camera as the source or with files."""
        return camera if self.delivery is None else self.delivery == "live"


@dataclass(frozen=True, slots=True)
class PlaybackConfig:
    """How a video file is played."""

    realtime: bool = option(False, help="play a video at its own pace; with --delivery live, leave late frames out")


@dataclass(frozen=True, slots=True)
class AppearanceConfig:
    """What is sent of people's appearance."""

    colours: bool = option(True, help="learn and send the colours of people's surface")
    face_picture: bool = option(True, help="send live pictures of faces, where labels leave room for them on the link")


@dataclass(frozen=True, slots=True)
class ExpressionConfig:
    """Whether faces and hands are read."""

    expression: bool = option(True, help="read and send what faces and fingers do")


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """Recording of what is sent."""

    record: Path | None = option(None, help="record to this file; without --peer nothing is sent")


@dataclass(frozen=True, slots=True)
class SenderConfig:
    """Turns the people before a camera into semantic labels and streams them to a receiver."""

    capture: CaptureConfig = field(default_factory=CaptureConfig)
    playback: PlaybackConfig = field(default_factory=PlaybackConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    expression: ExpressionConfig = field(default_factory=ExpressionConfig)
    preview: PreviewConfig = field(default_factory=PreviewConfig)
    channel: JsccConfig = field(default_factory=JsccConfig)
    rate: RateConfig = field(default_factory=RateConfig)
    delivery: DeliveryConfig = field(default_factory=DeliveryConfig)
    recording: RecordConfig = field(default_factory=RecordConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    logging: LogConfig = field(default_factory=LogConfig)

    @property
    def only_records(self) -> bool:
        """Whether there is no receiver: recording was asked for, and no peer."""
        return self.recording.record is not None and not self.link.names_peer

    def by_camera(self) -> list[Self]:
        """The configuration of each camera: of several, each has its own files and its share of the link.

        Raises:
            UsageError: `--budget-kbit` is too little for so many cameras.
        """
        cameras = self.capture.camera
        if len(cameras) == 1:
            return [self]
        budget, probe = self.link.budget_kbit, self.link.probe_kbit
        try:
            link = replace(
                self.link,
                budget_kbit=None if budget is None else budget / len(cameras),
                probe_kbit=probe / len(cameras),
            )
        except ValueError as error:
            raise UsageError(f"--budget-kbit {budget:g} for {len(cameras)} cameras, each of which: {error}") from error
        return [
            replace(
                self,
                capture=replace(self.capture, camera=(camera,)),
                preview=replace(self.preview, preview=_numbered(self.preview.preview, number)),
                delivery=replace(self.delivery, spool=self.delivery.spool / str(number)),
                recording=replace(self.recording, record=_numbered(self.recording.record, number)),
                link=link,
            )
            for number, camera in enumerate(cameras, 1)
        ]

    def check(self) -> None:
        """Checks what the options demand of each other, and reads certificates and token.

        Raises:
            UsageError: options need a link and there is none, a certificate, key or token cannot be read or is not
                valid, the token would be sent unencrypted, or as for `by_camera`.
        """
        self.by_camera()
        if not self.only_records:
            CredentialFiles(self.security).check(self.link.peer)
        elif self.delivery.delivery == "complete":
            raise UsageError("--delivery complete needs --peer: without it, --record sends nothing")
        elif self.channel.channel is not None:
            raise UsageError("--channel needs --peer: without it, --record sends nothing")


def _numbered(path: Path | None, number: int) -> Path | None:
    """The file of a camera: `talk-2.bw` of the second one."""
    return None if path is None else path.with_stem(f"{path.stem}-{number}")
