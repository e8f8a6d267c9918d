"""Checks of the web page."""

from common.doctor.finding import Finding, ok
from common.doctor.storage import check_address_free
from receiver.link.auth.config import SecurityConfig
from receiver.web.config import WebConfig
from receiver.web.page_files import check_built


def check_page(config: WebConfig, security: SecurityConfig) -> Finding:
    """Whether the page is built and protected, and its address free; a default address that is taken is replaced.

    Raises:
        UsageError: passwords would be sent unencrypted.
        OutputError: the page is not built.
    """
    if not config.page:
        return ok("page", "not served (--no-page)")
    config.check(security)
    check_built()
    if config.http is None:
        return ok("page", f"on {config.address}, or on a free port if that one is taken")
    return check_address_free("page", config.http, "--http")
