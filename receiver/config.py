"""All options of the receiver."""

import ipaddress
import math
import os
import re
import secrets
import socket
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Literal

from common.errors import OutputError, PeerError, UsageError
from common.io.addresses import Address
from common.io.command_line import option
from common.io.config import LogConfig, MetricsConfig
from common.weights.threads import DeviceConfig
from common.wire.certificates import CertificateFiles, check_pair

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


_MOST_SESSIONS = 100_000
# Each session may have two connections while its sender reconnects; there is room for others that are about to end.
_CONNECTIONS_PER_SESSION, _OTHER_CONNECTIONS = 2, 384


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where senders connect, and what the receiver tolerates."""

    listen: Address = option(Address("127.0.0.1", 50051), help="address to listen on; port 0 picks a free one")
    quic: bool = option(True, help="take senders over QUIC too, on the UDP port of the same number", advanced=True)
    drain_timeout: float = option(10.0, help="seconds to finish frames that have arrived when stopping", advanced=True)

    def __post_init__(self) -> None:
        if self.drain_timeout <= 0:
            raise ValueError(f"drain_timeout must be above 0, got {self.drain_timeout:g}")


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """Which senders are admitted, and how much each may consume."""

    insecure: bool = option(False, help="listen for other machines without certificates")
    tls_cert: Path | None = option(None, help="certificate of the receiver; deploy/certs makes one")
    tls_key: Path | None = option(None, help="private key of --tls-cert")
    tls_ca: Path | None = option(None, help="senders need a certificate of this authority", advanced=True)
    tokens: Path | None = option(None, help="senders need a token of this file (python -m receiver.link.auth.tokens)")
    max_sessions: int = option(64, help="most sessions; above, senders with few go first", advanced=True)
    # Most sessions of one sender at a time: as many as there are, since shares are fair when they run out.
    peer_sessions: int = 64
    # Of a stream, above which it is read more slowly: a hundred times the largest budget of labels and blobs.
    peer_bytes_per_second: float = 4e6
    # Of a stream; an address may have three times that. 30 frames a second have fewer than 100, with chunks of blobs.
    peer_messages_per_second: float = 1000.0

    def __post_init__(self) -> None:
        check_pair(self.tls_cert, self.tls_key)
        if self.insecure and self.tls_cert:
            raise ValueError("--tls-cert asks for encryption, --insecure turns it off: leave one out")
        if self.tls_ca and not self.tls_cert:
            raise ValueError("--tls-ca asks senders for certificates, which needs --tls-cert and --tls-key too")
        if not 1 <= self.max_sessions <= _MOST_SESSIONS:
            raise ValueError(f"max_sessions must lie in 1…{_MOST_SESSIONS}, got {self.max_sessions}")

    def check(self, listen: Address) -> None:
        """Checks the certificates. Raises UsageError also if other machines could connect unencrypted by accident."""
        CertificateFiles(self.tls_cert, self.tls_key, self.tls_ca).read()
        if listen.is_loopback or self.tls_cert:
            return
        if not self.insecure:
            raise UsageError(
                f"other machines can reach {listen}: give --tls-cert and --tls-key (sh deploy/certs/make-ca.sh and "
                "issue.sh make them), or --insecure"
            )
        if self.tokens:
            raise UsageError("with --insecure the tokens would be sent unencrypted: leave out --insecure or --tokens")


def most_connections_of(max_sessions: int) -> int:
    """How many connections the port of senders should take."""
    return _CONNECTIONS_PER_SESSION * max_sessions + _OTHER_CONNECTIONS


@dataclass(frozen=True, slots=True)
class GeneratedMotionConfig:
    """How limbs that nobody sees are generated."""

    motion: Literal["learned", "paper"] = option(
        "learned",
        help="diffusion of limbs that nobody sees: by a learned denoiser, or by the paper's eq. 26 and 27",
        advanced=True,
    )


@dataclass(frozen=True, slots=True)
class PlayoutConfig:
    """When the people of live sessions are shown."""

    playout: Literal["live", "smooth", "off"] = option(
        "live",
        help="how page and VMC show live people: live = predicted to the present, smooth = between the labels that "
        "have arrived, later, off = as the frames come",
        advanced=True,
    )


PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
_SHARED_FILE, _SHARED_FOLDER = 0o644, 0o755

Meshes = Literal["all", "surfaces", "none"]
"""What is written of a frame: of `none` only poses, which are documents that refer to what frames share."""


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """The output files of the receiver."""

    out: Path = option(Path("out"), help="output directory")
    format: Literal["glb", "obj", "ply"] = option("glb", help="format of the meshes")
    mesh_every: int = option(1, help="write meshes for every n-th frame", advanced=True)
    meshes: Meshes = option(
        "all", help="of each frame write surface and body, the surface alone, or only poses", formerly="body"
    )
    share_output: bool = option(False, help="let other users of this machine read the output", advanced=True)
    keep_days: float | None = option(None, help="delete sessions so many days after their end (default: keep them)")
    keep_gb: float | None = option(
        None,
        help="when sessions have more gigabytes, delete the oldest ended ones down to nine tenths (default: keep them)",
    )

    def __post_init__(self) -> None:
        for flag, value in (("--keep-days", self.keep_days), ("--keep-gb", self.keep_gb)):
            if value is not None and not 0 < value < 1e6:
                raise ValueError(f"{flag} must be above 0, got {value:g}; leave it out to keep everything")
        if self.meshes == "none" and self.format != "glb":
            raise ValueError(
                f"--meshes none keeps poses, which {self.format} has not: use --format glb or --meshes surfaces"
            )
        if self.mesh_every < 1:
            raise ValueError(f"mesh-every must be at least 1, got {self.mesh_every}")

    @property
    def file_mode(self) -> int:
        """Permissions of new files, less the umask."""
        return _SHARED_FILE if self.share_output else PRIVATE_FILE

    @property
    def folder_mode(self) -> int:
        """Permissions of new folders, less the umask."""
        return _SHARED_FOLDER if self.share_output else PRIVATE_FOLDER


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """A recording in place of senders; the receiver ends with it."""

    replay: Path | None = option(None, help="recording to replay instead of listening for senders")
    speed: str = option("1", help="pace: 1 as captured, 2 twice as fast, max: as fast as possible")
    from_: float = option(0.0, help="seconds of the recording to begin behind", advanced=True)

    def __post_init__(self) -> None:
        try:
            if self.speed != "max" and not 0 < float(self.speed) < math.inf:
                raise ValueError
        except ValueError:
            raise ValueError(f"--speed must be max or a number above 0, not {self.speed!r}") from None
        if self.from_ < 0:
            raise ValueError(f"--from must not be below 0, as {self.from_:g} is")

    @property
    def factor(self) -> float | None:
        """How many times as fast as captured; None for as fast as possible."""
        return None if self.speed == "max" else float(self.speed)

    @property
    def from_us(self) -> int:
        """Where the replay begins."""
        return round(self.from_ * 1e6)


SUFFIX = ".bw"


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """Recording of sessions."""

    record: Path | None = option(
        None,
        help="record sessions to FILE.bw, FILE-2.bw, …, or to session-N.bw in a directory",
    )

    def check(self) -> None:
        """Checks that a recording can be created.

        Raises:
            OutputError: the file exists, or its folder does not or cannot be written.
        """
        record = self.record
        if record is None:
            return
        try:
            folder = record if _is_folder(record) else record.absolute().parent
            if folder == record:
                record.mkdir(parents=True, exist_ok=True, mode=0o700)
            elif record.exists():
                raise OutputError(f"{record} exists: remove it, or give --record another name")
        except OSError as error:
            raise OutputError(f"cannot record to {record}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise OutputError(f"{folder} does not exist or cannot be written: give --record another place")

    def path_of(self, session_number: int) -> Path:
        """A path that no file has yet, for a session of the output directory."""
        assert self.record is not None
        named = self.record / f"session-{session_number}{SUFFIX}" if _is_folder(self.record) else self.record
        further = (named.with_stem(f"{named.stem}-{number}") for number in count(2))
        return next(path for path in chain([named], further) if not os.path.lexists(path))


def _is_folder(path: Path) -> bool:
    return path.is_dir() or path.suffix == ""


@dataclass(frozen=True, slots=True)
class SurfaceConfig:
    """Settings of the surface reconstruction."""

    grid_resolution: int = option(
        80,
        help="grid nodes along the person's longest side; fewer for small people, or several in a picture",
        advanced=True,
    )

    def __post_init__(self) -> None:
        if not 24 <= self.grid_resolution <= 512:
            raise ValueError(f"grid-resolution must lie in 24…512, got {self.grid_resolution}")


DEFAULT_ADDRESS = Address("127.0.0.1", 39539)
"""Where programs that show avatars listen: the port of the protocol's specification."""


@dataclass(frozen=True, slots=True)
class VmcConfig:
    """Motion for programs that show avatars."""

    vmc: tuple[str, ...] = option(
        (),
        help="send skeleton and face of the followed person to this HOST:PORT as VMC over OSC, 60 times a second, 30 "
        "with --playout off; again for each further program",
    )

    def __post_init__(self) -> None:
        try:
            addresses = self.addresses
        except ValueError as error:
            raise ValueError(f"--vmc: {error}") from error
        for number, address in enumerate(addresses):
            if address.port == 0:
                raise ValueError("--vmc needs a port from 1 on, such as 127.0.0.1:39539")
            if address in addresses[:number]:
                raise ValueError(f"--vmc {address} is there twice: give each program once")
            if _lacks_interface(address.host):
                raise ValueError(f"--vmc {address} needs its interface, such as [{address.host}%eth0]:{address.port}")

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where to; a port alone is one of this machine."""
        texts = (f":{text}" if text.isdecimal() else text for text in self.vmc)
        return tuple(Address.parse(text, DEFAULT_ADDRESS) for text in texts)


def _lacks_interface(host: str) -> bool:
    """Whether it is an address of IPv6 that each network has for itself, without saying which network is meant."""
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return False
    local = address.is_link_local or (address.is_multicast and address.packed[1] & 0x0F in (1, 2))
    return local and address.scope_id is None


_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
DEFAULT_PAGE = Address("127.0.0.1", 8080)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The web page.

    On the loopback whoever has the printed address may watch. At any other address the page wants a proxy
    (`--trusted-proxy`), TLS (`--tls-cert`) or `--insecure`, and only signed-in accounts see anything.
    """

    page: bool = option(True, help="serve the web page")
    http: Address | None = option(None, help="address of the page, host:port (default: 127.0.0.1:8080, or a free port)")
    http_host: str | None = option(
        None,
        help="name by which browsers reach a public page without TLS, or several with commas "
        "(default: this machine's own; addresses always count)",
        advanced=True,
    )
    http_token: str = option(
        "auto",
        help="secret in the page's address on the loopback: auto makes one at each start, with none everybody on this "
        "machine may watch; otherwise 16 characters and more",
        advanced=True,
    )
    trusted_proxy: str | None = option(
        None,
        help="address or network of the proxy before the page, or several with commas: who comes through it needs an "
        "account, and has the address and scheme that its X-Forwarded-For and X-Forwarded-Proto say",
        advanced=True,
    )
    watchers: int = option(16, help="most browsers that watch at a time", advanced=True)
    browser_cameras: int = option(
        0,
        help="most watchers at a time who send the camera of their browser, each a sender process (default: none)",
        advanced=True,
    )

    def __post_init__(self) -> None:
        if self.watchers < 1:
            raise ValueError(f"watchers must be at least 1, got {self.watchers}")
        if self.browser_cameras < 0:
            raise ValueError(f"browser_cameras must be at least 0, got {self.browser_cameras}")
        if self.http_token not in ("auto", "none") and not _TOKEN.fullmatch(self.http_token):
            raise ValueError("--http-token: give auto, none, or 16 to 128 letters, digits, - and _")
        for proxy in (self.trusted_proxy or "127.0.0.1").split(","):
            try:
                ipaddress.ip_network(proxy.strip())
            except ValueError as error:
                raise ValueError(f"--trusted-proxy {proxy.strip()}: give an address or network, 10.0.0.0/8") from error

    @property
    def address(self) -> Address:
        """Where the page is served; only the default may be replaced by a free port."""
        return self.http or DEFAULT_PAGE

    def is_proxy(self, host: str) -> bool:
        """Whether an address, as `common.io.addresses.address_key` has it, is of the trusted proxy."""
        proxies = (ipaddress.ip_network(proxy.strip()) for proxy in (self.trusted_proxy or "").split(",") if proxy)
        return any(ipaddress.ip_network(host).overlaps(proxy) for proxy in proxies)

    @property
    def needs_account(self) -> bool:
        """Whether watching needs an account."""
        return not self.address.is_loopback or self.trusted_proxy is not None

    @property
    def hosts(self) -> frozenset[str]:
        """The names that the page has beside addresses."""
        names = (self.http_host or "").split(",")
        own = ("localhost", socket.gethostname(), self.address.host)
        return frozenset(name.strip().lower() for name in (*names, *own))

    def new_token(self) -> str:
        """What the page's address has to carry; empty if nothing."""
        if self.needs_account or self.http_token == "none":
            return ""
        return secrets.token_urlsafe(24) if self.http_token == "auto" else self.http_token

    def check(self, security: SecurityConfig) -> None:
        """Raises UsageError for a page that others reach without a proxy, unless that is wanted explicitly.

        A proxy encrypts, and ends the connections of clients that send or read too slowly.
        """
        protected = self.trusted_proxy or security.tls_cert or security.insecure
        if self.page and not self.address.is_loopback and not protected:
            raise UsageError(
                f"other machines can reach the page on {self.address}: put a proxy before it (deploy/proxy) and give "
                "--trusted-proxy; or in a network that you trust --tls-cert and --tls-key (sh deploy/certs/make-ca.sh "
                "and issue.sh make them), or --insecure"
            )


@dataclass(frozen=True, slots=True)
class UploadConfig:
    """Pictures and clips that are uploaded, and the models and sessions made of them."""

    upload_bytes: int = option(20_000_000, help="most bytes of an uploaded picture", advanced=True)
    account_models: int = option(200, help="most models and sessions of clips of one account", advanced=True)
    clip_bytes: int = option(200_000_000, help="most bytes of an uploaded clip", advanced=True)

    def __post_init__(self) -> None:
        if min(self.upload_bytes, self.account_models, self.clip_bytes) < 1:
            raise ValueError("--upload-bytes, --account-models and --clip-bytes must be at least 1")


@dataclass(frozen=True, slots=True)
class AccountsConfig:
    """Accounts of the web page."""

    sign_up: bool | None = option(None, help="let visitors make accounts (default: on the loopback only)")

    def signs_up(self, *, loopback: bool) -> bool:
        """Whether visitors may make accounts."""
        return loopback if self.sign_up is None else self.sign_up


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
