"""Checks of this end's certificates."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.doctor.finding import Finding, ok, warning
from common.wire.certificates import CertificateFiles, certificates_in, validity

_SOON = timedelta(days=14)


def check_certificates(
    certificate: Path | None, key: Path | None, authority: Path | None, now: datetime | None = None
) -> Finding:
    """Whether certificate, key and authority can be read, fit each other and are valid; raises UsageError."""
    now = now or datetime.now(UTC)
    read = CertificateFiles(certificate, key, authority, lambda: now).read()
    ends = [
        (validity(certificates_in(content, name)[0])[1], name)
        for content, name in ((read.certificate, "--tls-cert"), (read.authority, "--tls-ca"))
        if content is not None
    ]
    if not ends:
        return ok("certificates", "none given")
    end, name = min(ends)
    found = f"{', '.join(name for _, name in ends)} valid, {name} until {end:%Y-%m-%d}"
    return expiring("certificates", found, end, now)


def expiring(check: str, found: str, end: datetime, now: datetime) -> Finding:
    """The finding of a valid certificate: a warning if it expires soon."""
    if end - now < _SOON:
        return warning(check, f"{found}, in {max((end - now).days, 0)} days", "issue a new one (deploy/certs/issue.sh)")
    return ok(check, found)
