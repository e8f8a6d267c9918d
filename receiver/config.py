"""The receiver's configuration, by component. Nothing here imports a library that takes time."""

from dataclasses import dataclass, field

from common.io.config import LogConfig, MetricsConfig, TracingConfig
from common.weights.config import DeviceConfig
from receiver.diffusion.config import SamplingConfig
from receiver.engine.config import BatchingConfig
from receiver.engine.pool.config import EngineConfig
from receiver.link.auth.config import SecurityConfig
from receiver.link.config import ListenConfig
from receiver.publish.config import PublishConfig
from receiver.recording.config import RecordConfig, ReplayConfig
from receiver.sharing import SharingConfig
from receiver.surface.config import SurfaceConfig
from receiver.texture.config import TextureConfig
from receiver.web.accounts.config import AccountsConfig
from receiver.web.children.config import ChildrenConfig
from receiver.web.config import WebConfig
from receiver.web.models.config import UploadConfig


@dataclass(frozen=True, slots=True)
class ReceiverConfig:
    """The receiver's configuration by component."""

    listen: ListenConfig = field(default_factory=ListenConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    diffusion: SamplingConfig = field(default_factory=SamplingConfig)
    surface: SurfaceConfig = field(default_factory=SurfaceConfig)
    textures: TextureConfig = field(default_factory=TextureConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    sharing: SharingConfig = field(default_factory=SharingConfig)
    recording: RecordConfig = field(default_factory=RecordConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    web: WebConfig = field(default_factory=WebConfig)
    accounts: AccountsConfig = field(default_factory=AccountsConfig)
    uploads: UploadConfig = field(default_factory=UploadConfig)
    children: ChildrenConfig = field(default_factory=ChildrenConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    tracing: TracingConfig = field(default_factory=TracingConfig)
    logging: LogConfig = field(default_factory=LogConfig)
