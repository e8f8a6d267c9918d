"""Configuration of the web page: page, uploads, accounts, and the senders that it starts."""

import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass

from common.errors import UsageError
from common.io.addresses import Address
from common.io.command_line import option
from receiver.link.config import SecurityConfig

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
DEFAULT_ADDRESS = Address("127.0.0.1", 8080)


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
        return self.http or DEFAULT_ADDRESS

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
