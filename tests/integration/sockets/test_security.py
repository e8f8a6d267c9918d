"""Which senders are admitted, and the errors of the others: certificates by `deploy/certs`, tokens, limits."""

import asyncio
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.errors import PeerError, UsageError
from common.io.addresses import Address
from common.wire import certificates
from receiver.link.auth.tokens import TokenFile, TokenRefused, add_token, revoke_token
from sender.link.diagnosis import CredentialFiles, read_token
from tests.support.link.certificate_authority import Authority
from tests.support.link.link_fixture import (
    LinkFixture,
    ReceiverSecurity,
    SenderSecurity,
    at_receiver,
    at_sender,
    send_all,
)
from tests.support.link.recording_pipeline import RecordingPipeline


async def test_encrypted_links(link: LinkFixture, ours: Authority) -> None:
    for receives, sends in (
        (at_receiver(ours), at_sender(ours)),
        (at_receiver(ours, "elsewhere"), at_sender(ours, tls_name="studio.example")),
        (at_receiver(ours, tls_ca=ours.certificate), at_sender(ours, ours)),
    ):
        assert await link.deliver(receives, sends) == list(range(20))


Case = tuple[Callable[[Authority, Authority], tuple[ReceiverSecurity, SenderSecurity]], str]
REFUSED: dict[str, Case] = {
    "an authority unknown to the sender": (
        lambda ours, others: (at_receiver(ours), at_sender(others)),
        "is not valid: .*; give the authority that signed it as --tls-ca",
    ),
    "an expired certificate of the receiver": (
        lambda ours, _: (at_receiver(ours, "stale"), at_sender(ours)),
        "is not valid: certificate has expired; issue a new one",
    ),
    "a certificate for another host": (
        lambda ours, _: (at_receiver(ours, "elsewhere"), at_sender(ours)),
        "is not valid: .*mismatch.*; issue one for that name, or give --tls-name",
    ),
    "a sender without a certificate": (
        lambda ours, _: (at_receiver(ours, tls_ca=ours.certificate), at_sender(ours)),
        "refused the connection: a certificate is required: give --tls-cert and --tls-key",
    ),
    "a sender's certificate of another authority": (
        lambda ours, others: (at_receiver(ours, tls_ca=ours.certificate), at_sender(ours, others)),
        "refused the connection: --tls-cert is not valid: it expired, or another authority signed it",
    ),
    "a sender's expired certificate": (
        lambda ours, _: (at_receiver(ours, tls_ca=ours.certificate), at_sender(ours, ours, "stale")),
        "refused the connection: --tls-cert is not valid: it expired",
    ),
    "an unencrypted sender": (
        lambda ours, _: (at_receiver(ours), SenderSecurity()),
        "encrypts: leave out --insecure",
    ),
    "an unencrypted receiver": (
        lambda ours, _: (ReceiverSecurity(), at_sender(ours)),
        "does not encrypt: give it a certificate, or --insecure here",
    ),
}


async def test_refusal_gives_the_reason(
    link: LinkFixture, ours: Authority, others: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An expired certificate is refused when it is read; here, it expires later.
    monkeypatch.setattr(certificates, "_check_valid", lambda *_: None)
    for case, (configs, message) in REFUSED.items():
        with pytest.raises(PeerError) as caught:
            await link.deliver(*configs(ours, others))
        assert re.search(message, str(caught.value)), case


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def with_token(tmp_path: Path, token: str) -> SenderSecurity:
    path = tmp_path / hashlib.sha256(token.encode()).hexdigest()[:8]
    path.write_text(token + "\n")
    return SenderSecurity(token_file=path)


NOW = datetime.now(UTC)


async def test_valid_missing_unknown_expired_and_revoked_tokens(
    link: LinkFixture, tmp_path: Path, tokens: Path
) -> None:
    valid = with_token(tmp_path, add_token(tokens, "studio", 30, NOW))
    assert await link.deliver(ReceiverSecurity(tokens=tokens), valid) == list(range(20))
    expired = add_token(tokens, "old", 1, NOW - timedelta(days=2))
    revoked = add_token(tokens, "stolen", 30, NOW)
    revoke_token(tokens, "stolen")
    receives = ReceiverSecurity(tokens=tokens)
    for sends, message in (
        (SenderSecurity(), "a token is required: give --token-file"),
        (with_token(tmp_path, "made-up"), "the token is unknown"),
        (with_token(tmp_path, expired), "the token of old expired on"),
        (with_token(tmp_path, revoked), "the token of stolen was revoked"),
    ):
        with pytest.raises(PeerError, match=message):
            await link.deliver(receives, sends)


async def test_token_that_nobody_checks_is_said_once(
    link: LinkFixture, tmp_path: Path, tokens: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sends = with_token(tmp_path, "made-up")
    for receives, given, expected in (
        (ReceiverSecurity(), sends, 1),
        (ReceiverSecurity(), SenderSecurity(), 0),
        (ReceiverSecurity(tokens=tokens), with_token(tmp_path, add_token(tokens, "studio", 30, NOW)), 0),
    ):
        caplog.clear()
        assert await link.deliver(receives, given) == list(range(20))
        assert [record.getMessage().count("checks no tokens") for record in caplog.records].count(1) == expected


async def test_revoking_a_token_ends_the_stream(link: LinkFixture, tmp_path: Path, tokens: Path) -> None:
    sends = with_token(tmp_path, add_token(tokens, "studio", 30, NOW))
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, security=ReceiverSecurity(tokens=tokens))
    client, _ = link.client(address, security=sends)
    await client.connect()
    await send_all(client, 0, 5)
    await pipeline.until_decoded(4)
    revoke_token(tokens, "studio")
    with pytest.raises(PeerError, match="the token of studio was revoked"):
        async with asyncio.timeout(10):
            await send_all(client, 5, 100_000)


async def test_certificates_are_replaced_without_losing_a_frame(link: LinkFixture, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "certs")
    authority.issue("receiver", "127.0.0.1", days=0)
    authority.issue("receiver", "127.0.0.1")
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, security=at_receiver(authority))
    relay, relayed = await link.relay(address)
    client, observer = link.client(relayed, security=SenderSecurity(tls_ca=authority.certificate))
    await client.connect()
    await send_all(client, 0, 50)
    # The certificate is replaced by one of a new authority: it is valid only if both ends read the new files.
    new = Authority.make(tmp_path / "new")
    certificate, key = new.issue("receiver", "127.0.0.1")
    key.replace(authority.folder / "receiver.key")
    certificate.replace(authority.folder / "receiver.pem")
    new.certificate.replace(authority.certificate)
    await send_all(client, 50, 100)
    relay.cut()
    await send_all(client, 100, 150)
    await client.drain()
    assert pipeline.decoded == list(range(150))
    assert len(observer.losses) == 1


async def test_broken_files_while_running_keep_the_old_ones(
    link: LinkFixture, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority.make(tmp_path / "certs")
    authority.issue("receiver", "127.0.0.1")
    _, other_key = authority.issue("other")
    token_file = tmp_path / "camera.token"
    token_file.write_text(add_token(tmp_path / "tokens.toml", "camera", 1, NOW))
    pipeline = RecordingPipeline()
    receives = at_receiver(authority, tokens=tmp_path / "tokens.toml")
    _, address = await link.server(pipeline, security=receives)
    relay, relayed = await link.relay(address)
    sends = SenderSecurity(tls_ca=authority.certificate, token_file=token_file)
    client, observer = link.client(relayed, security=sends)
    await client.connect()
    other_key.replace(authority.folder / "receiver.key")
    authority.certificate.write_text("damaged")
    token_file.unlink()
    for losses in (1, 2):
        relay.cut()
        await send_all(client, 20 * losses - 20, 20 * losses)
        await pipeline.until_decoded(20 * losses - 1)
        assert len(observer.losses) == losses
    await client.drain()
    assert pipeline.decoded == list(range(40))
    warnings = sorted(record.getMessage() for record in caplog.records if "before the change" in record.getMessage())
    assert len(warnings) == 3, warnings
    assert "receiver.key is not the key of --tls-cert" in warnings[0] + warnings[1]
    assert "ca.pem is not a PEM file" in warnings[0] + warnings[1]
    assert "--token-file: cannot read" in warnings[2]


def test_unencrypted_receiver_on_other_addresses_is_refused() -> None:
    any_address, insecure = Address("0.0.0.0", 50051), ReceiverSecurity(insecure=True)
    with pytest.raises(UsageError, match="or --insecure"):
        ReceiverSecurity().check(any_address)
    with pytest.raises(UsageError, match="tokens would be sent unencrypted"):
        ReceiverSecurity(insecure=True, tokens=Path("tokens.toml")).check(any_address)
    insecure.check(any_address)


def test_sender_encrypts_to_other_machines_by_default(tmp_path: Path) -> None:
    remote, local = Address("studio.example", 50051), Address("localhost", 50051)
    assert SenderSecurity().encrypts(remote)
    assert not SenderSecurity(insecure=True).encrypts(remote)
    assert not SenderSecurity().encrypts(local)
    assert SenderSecurity(tls_ca=Path("ca.pem")).encrypts(local)
    sends = with_token(tmp_path, "secret")
    assert read_token(sends, remote) == "secret"
    with pytest.raises(UsageError, match=r"would be sent to .* unencrypted"):
        read_token(replace(sends, insecure=True), remote)


def test_contradictory_options_are_refused() -> None:
    for make, message in (
        (lambda: SenderSecurity(tls_cert=Path("x")), "belong together"),
        (lambda: SenderSecurity(insecure=True, tls_ca=Path("x")), "leave one out"),
        (lambda: ReceiverSecurity(tls_key=Path("x")), "belong together"),
        (lambda: ReceiverSecurity(tls_ca=Path("x")), "needs --tls-cert"),
        (lambda: ReceiverSecurity(insecure=True, tls_cert=Path("x"), tls_key=Path("x")), "leave one out"),
        (lambda: ReceiverSecurity(max_sessions=0), "max_sessions must lie in"),
        (lambda: ReceiverSecurity(max_sessions=10**30), "max_sessions must lie in"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_missing_and_invalid_files_are_named(tmp_path: Path, tokens: Path) -> None:
    remote, text = Address("studio.example", 1), tmp_path / "text"
    text.write_text("two words")
    with pytest.raises(UsageError, match=r"--tls-ca: cannot read .*missing"):
        CredentialFiles(SenderSecurity(tls_ca=tmp_path / "missing")).credentials(remote)
    with pytest.raises(UsageError, match="is not a PEM file"):
        CredentialFiles(SenderSecurity(tls_ca=text)).credentials(remote)
    with pytest.raises(UsageError, match="contains no token"):
        read_token(SenderSecurity(token_file=text), remote)
    with pytest.raises(UsageError, match="is not a token file"):
        TokenFile(text)
    add_token(tokens, "studio", 1, NOW)
    with pytest.raises(UsageError, match="has no token for camera"):
        revoke_token(tokens, "camera")


def test_token_file_is_private_and_contains_only_hashes(tokens: Path) -> None:
    with pytest.raises(UsageError, match="has no token for studio"):
        add_token(tokens, "studio", None, NOW, renew=True)
    token = add_token(tokens, "studio", 1, NOW)
    assert token not in tokens.read_text()
    assert tokens.stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="has a token for studio"):
        add_token(tokens, "studio", 1, NOW)
    with pytest.raises(UsageError, match="is not a valid name"):
        add_token(tokens, "a b", 1, NOW)
    # A renewed token replaces the old one under its name.
    revoke_token(tokens, "studio")
    new = add_token(tokens, "studio", None, NOW, renew=True)
    file = TokenFile(tokens)
    assert file.name_of(new) == "studio"
    with pytest.raises(TokenRefused, match="the token is unknown"):
        file.name_of(token)
