"""Options of the engine."""

import re
import socket
from dataclasses import dataclass

from common.errors import PeerError, UsageError
from common.io.addresses import Address
from common.io.command_line import option

_LOCAL, _RAY = "local", "ray"
_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Where people are reconstructed: in this process, or by the replicas of a pool."""

    engine: str = option(
        _LOCAL,
        help="local: this process; ray: pool on this machine; ray:HOST:PORT: pool of that cluster",
        advanced=True,
    )
    replicas: str = option(
        "1", help="replicas of the pool: 2, or 1-4 for up to 4 when requests queue up", advanced=True
    )
    replica_cpus: float = option(
        1.0, help="CPU cores that Ray reserves per replica; threads for surfaces", advanced=True
    )
    replica_gpus: float = option(0.0, help="share of a GPU that Ray reserves per replica; 0: CPU", advanced=True)

    def __post_init__(self) -> None:
        kind, _, address = self.engine.partition(":")
        if kind not in (_LOCAL, _RAY) or (kind == _LOCAL and self.engine != _LOCAL):
            raise ValueError(f"--engine must be local, ray or ray:HOST:PORT, not {self.engine!r}")
        if ":" in self.engine:
            try:
                if "/" in address:
                    raise ValueError("Ray Client is not supported; write ray:HOST:PORT")
                Address.parse(address)
            except ValueError as error:
                raise ValueError(f"--engine {self.engine}: {error}") from None
        if not re.fullmatch(r"\d{1,6}(-\d{1,6})?", self.replicas) or not 1 <= self.least_replicas <= self.most_replicas:
            raise ValueError(f"--replicas must be a number from 1 on, or a range such as 1-4, not {self.replicas!r}")
        if not 0 < self.replica_cpus <= 1024:
            raise ValueError(f"--replica-cpus must lie in 0…1024 and be more than 0, got {self.replica_cpus:g}")
        if not 0 <= self.replica_gpus <= 64 or (self.replica_gpus > 1 and self.replica_gpus % 1):
            raise ValueError(f"--replica-gpus must be a share of 0…1 or a whole number, got {self.replica_gpus:g}")

    @property
    def kind(self) -> str:
        """`local` or `ray`."""
        return self.engine.partition(":")[0]

    @property
    def address(self) -> Address | None:
        """The head of the Ray cluster to join; None for one on this machine."""
        address = self.engine.partition(":")[2]
        return Address.parse(address) if address else None

    @property
    def least_replicas(self) -> int:
        """Replicas of the pool before it grows."""
        return int(self.replicas.partition("-")[0])

    @property
    def most_replicas(self) -> int:
        """Replicas of the pool when it has grown."""
        return int(self.replicas.rpartition("-")[2])

    @property
    def replica_device(self) -> str:
        """Where the networks of a replica run; which GPU that is, Ray chooses."""
        return "cuda" if self.replica_gpus else "cpu"

    def check(self, device: str) -> None:
        """Checks the options against the device.

        Raises:
            UsageError: the pool has no GPU for the device, or a replica needs one that `--device` excludes.
        """
        if self.kind == _LOCAL:
            return
        if ":" in device:
            raise UsageError(f"--device {device}: Ray chooses the GPUs of --engine ray; give --device cuda or auto")
        if device == "cuda" and not self.replica_gpus:
            raise UsageError(f"--device {device} with --engine ray needs --replica-gpus above 0")
        if device == "cpu" and self.replica_gpus:
            raise UsageError("--replica-gpus reserves GPUs, but --device cpu does not use them")


def reach(address: Address) -> None:
    """Raises PeerError if nothing answers at an address: Ray takes a minute to find out, and reports many lines."""
    try:
        socket.create_connection((address.host, address.port), _CONNECT_TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise PeerError(
            f"no Ray cluster answers at {address} ({reason}): start one with ray start --head, and give its address"
        ) from error
