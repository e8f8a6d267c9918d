from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.doctor.finding import Verdict
from common.errors import UsageError
from common.io.addresses import Address
from receiver.doctor.admission import check_admission
from receiver.link.auth.config import SecurityConfig
from receiver.link.auth.tokens import add_token
from tests.support.certificate_authority import Authority

LOOPBACK, EVERYWHERE = Address("127.0.0.1", 50051), Address("0.0.0.0", 50051)


def test_this_machine_only(tmp_path: Path) -> None:
    assert check_admission(SecurityConfig(), LOOPBACK).found == "this machine only; senders prove nothing"
    tokens = tmp_path / "tokens.toml"
    add_token(tokens, "camera", None, datetime.now(UTC))
    assert f"a token of {tokens}" in check_admission(SecurityConfig(tokens=tokens), LOOPBACK).found


def test_other_machines(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--tls-cert"):
        check_admission(SecurityConfig(), EVERYWHERE)
    assert check_admission(SecurityConfig(insecure=True), EVERYWHERE).verdict is Verdict.WARNING
    authority = Authority.make(tmp_path / "certs")
    certificate, key = authority.issue("receiver", "127.0.0.1")
    encrypted = SecurityConfig(tls_cert=certificate, tls_key=key)
    assert check_admission(encrypted, EVERYWHERE).verdict is Verdict.WARNING
    mutual = check_admission(replace(encrypted, tls_ca=authority.certificate), EVERYWHERE)
    assert (mutual.verdict, mutual.found) == (
        Verdict.OK,
        f"encrypted; senders present a certificate signed by {authority.certificate}",
    )


@pytest.mark.parametrize("content", [None, "no token file ="])
def test_token_file_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    tokens = tmp_path / "tokens.toml"
    if content is not None:
        tokens.write_text(content)
    with pytest.raises(UsageError, match="--tokens"):
        check_admission(SecurityConfig(tokens=tokens), LOOPBACK)
