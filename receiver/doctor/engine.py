"""Check of the pool that people are reconstructed in."""

from common.doctor.finding import Finding, ok
from common.weights.config import DeviceConfig
from receiver.engine.pool.cluster import check_cores, reach, require_ray
from receiver.engine.pool.config import EngineConfig


def check_engine(config: EngineConfig, device: DeviceConfig) -> Finding:
    """Where people are reconstructed; raises UsageError or PeerError if the pool cannot be started or joined."""
    config.check(device.device)
    if config.kind == "local":
        return ok("engine", "this process")
    check_cores(config)
    version = require_ray().__version__
    if config.address is None:
        return ok("engine", f"Ray {version} on this machine, {config.most_replicas} replicas at most")
    reach(config.address)
    return ok("engine", f"Ray {version}, a cluster answers at {config.address}")
