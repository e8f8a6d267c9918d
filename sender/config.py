"""The sender's configuration, by component. Nothing here imports a library that takes time."""

from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UsageError
from common.io.config import LogConfig, MetricsConfig
from common.io.options import option
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

    def check(self) -> None:
        """Checks what the options demand of each other, and reads certificates and token.

        Raises:
            UsageError: options need a link and there is none, a certificate, key or token cannot be read or is not
                valid, or the token would be sent unencrypted.
        """
        if not self.only_records:
            CredentialFiles(self.security).check(*self.link.peer.each)
        elif self.delivery.delivery == "complete":
            raise UsageError("--delivery complete needs --peer: without it, --record sends nothing")
        elif self.channel.channel is not None:
            raise UsageError("--channel needs --peer: without it, --record sends nothing")
