"""Configuration of the receiver's web page."""

from dataclasses import dataclass

from common.errors import UsageError
from common.io.addresses import Address
from common.io.options import option
from receiver.link.auth.config import SecurityConfig

DEFAULT_ADDRESS = Address("127.0.0.1", 8080)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The web page.

    On the loopback everybody on this machine may watch. At any other address the page wants TLS (`--tls-cert`) or
    `--insecure`, and only signed-in accounts see anything.
    """

    page: bool = option(True, help="serve the web page")
    http: Address | None = option(
        None, help="address of the web page, host:port (default: 127.0.0.1:8080, or a free port if that one is taken)"
    )
    watchers: int = option(16, help="most browsers that watch at a time")
    browser_camera: bool = option(False, help="let those who may watch send the camera of their browser")

    def __post_init__(self) -> None:
        if self.watchers < 1:
            raise ValueError(f"watchers must be at least 1, got {self.watchers}")

    @property
    def address(self) -> Address:
        """Where the page is served; only the default may be replaced by a free port."""
        return self.http or DEFAULT_ADDRESS

    @property
    def needs_account(self) -> bool:
        """Whether watching needs an account."""
        return not self.address.is_loopback

    def check(self, security: SecurityConfig) -> None:
        """Checks that no password is sent unencrypted by accident.

        Raises:
            UsageError: what is wrong, and what to do about it.
        """
        if self.page and self.needs_account and not security.tls_cert and not security.insecure:
            raise UsageError(
                f"other machines can reach the page on {self.address}: give --tls-cert and --tls-key (sh "
                "deploy/certs/make-ca.sh and issue.sh make them), or --insecure behind a proxy that encrypts"
            )
