"""The sender's configuration, by component. Nothing here imports a library that takes time."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from common.errors import UsageError
from common.io.command_line import option
from common.io.config import LogConfig, MetricsConfig
from common.weights.config import DeviceConfig
from sender.capture.config import CaptureConfig
from sender.jscc.config import JsccConfig
from sender.link.config import LinkConfig
from sender.link.transport.security import CredentialFiles, SecurityConfig
from sender.perception.config import TrackingConfig
from sender.preview.config import PreviewConfig
from sender.rate.policy import RateConfig
from sender.semantics.config import SmoothingConfig
from sender.spool.config import DeliveryConfig


@dataclass(frozen=True, slots=True)
class PlaybackConfig:
    """How a video file is played."""

    realtime: bool = option(False, help="play a video at its own pace; with --delivery live, leave late frames out")


@dataclass(frozen=True, slots=True)
class AppearanceConfig:
    """What is sent of people's appearance."""

    colours: bool = option(True, help="learn and send the colours of people's surface")


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
            CredentialFiles(self.security).check(*self.link.peer.each)
        elif self.delivery.delivery == "complete":
            raise UsageError("--delivery complete needs --peer: without it, --record sends nothing")
        elif self.channel.channel is not None:
            raise UsageError("--channel needs --peer: without it, --record sends nothing")


def _numbered(path: Path | None, number: int) -> Path | None:
    """The file of a camera: `talk-2.bw` of the second one."""
    return None if path is None else path.with_stem(f"{path.stem}-{number}")
