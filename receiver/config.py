"""The receiver's configuration, by component. Nothing here imports a library that takes time."""

from dataclasses import dataclass, field

from common.errors import UsageError
from common.io.config import LogConfig, MetricsConfig
from common.weights.config import DeviceConfig
from receiver.engine.config import EngineConfig
from receiver.link.config import ListenConfig, SecurityConfig
from receiver.motion.config import GeneratedMotionConfig, PlayoutConfig
from receiver.publish.config import PublishConfig
from receiver.recording.config import RecordConfig, ReplayConfig
from receiver.surface.config import SurfaceConfig
from receiver.vmc.config import VmcConfig
from receiver.web.config import AccountsConfig, UploadConfig, WebConfig


@dataclass(frozen=True, slots=True)
class ReceiverConfig:
    """The receiver's configuration by component."""

    listen: ListenConfig = field(default_factory=ListenConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    surface: SurfaceConfig = field(default_factory=SurfaceConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    recording: RecordConfig = field(default_factory=RecordConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    motion: GeneratedMotionConfig = field(default_factory=GeneratedMotionConfig)
    playout: PlayoutConfig = field(default_factory=PlayoutConfig)
    web: WebConfig = field(default_factory=WebConfig)
    accounts: AccountsConfig = field(default_factory=AccountsConfig)
    uploads: UploadConfig = field(default_factory=UploadConfig)
    vmc: VmcConfig = field(default_factory=VmcConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    logging: LogConfig = field(default_factory=LogConfig)

    def check(self) -> None:
        """Checks what the options demand of each other and of this machine, and reads the certificates.

        Raises:
            UsageError: options contradict each other, or a certificate or key cannot be used.
            OutputError: no recording can be created.
        """
        self.security.check(self.listen.listen)
        self.web.check(self.security)
        self.recording.check()
        self.engine.check(self.device.device)
        if self.replay.replay and self.recording.record:
            raise UsageError("--replay and --record exclude each other: the recording is there already")
