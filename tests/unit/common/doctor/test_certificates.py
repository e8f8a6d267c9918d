from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.doctor.certificates import check_certificates
from common.doctor.finding import Verdict
from common.errors import UsageError
from tests.support.certificate_authority import Authority


def test_none_given() -> None:
    assert check_certificates(None, None, None).verdict is Verdict.OK


def test_validity(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "certs")
    certificate, key = authority.issue("camera", days=30)
    now = datetime.now(UTC)
    fresh = check_certificates(certificate, key, authority.certificate, now)
    assert fresh.verdict is Verdict.OK
    assert f"{now + timedelta(days=30):%Y-%m-%d}" in fresh.found
    soon = check_certificates(certificate, key, authority.certificate, now + timedelta(days=20))
    assert soon.verdict is Verdict.WARNING
    assert soon.found.endswith("in 9 days")
    with pytest.raises(UsageError, match="expired"):
        check_certificates(certificate, key, authority.certificate, now + timedelta(days=31))


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.pem"):
        check_certificates(None, None, tmp_path / "missing.pem")
