"""Who gets in and who does not, and what each is told: certificates by `deploy/certs`, tokens, limits."""

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import receiver.link.auth.security
import sender.link.transport.security
from common.errors import PeerError, UsageError
from common.io.addresses import Address
from common.wire.convert import STREAM_SERVICE
from receiver.link.auth.tokens import TokenFile, add_token, revoke_token
from sender.link.transport.security import read_credentials, read_token
from tests.support.link_fixture import Ends, Pipeline, send_all

CERTS = Path(__file__).parents[2] / "deploy" / "certs"
Receiving = receiver.link.auth.security.SecurityConfig
Sending = sender.link.transport.security.SecurityConfig


@dataclass(frozen=True)
class Authority:
    """A private authority in a folder."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        subprocess.run(["sh", str(CERTS / "make-ca.sh"), str(folder)], check=True, capture_output=True)
        return cls(folder)

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, *hosts: str, days: int = 1) -> tuple[Path, Path]:
        """Certificate and key."""
        command = ["sh", str(CERTS / "issue.sh"), str(self.folder), name, *hosts]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "DAYS": str(days)})
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority.make(tmp_path_factory.mktemp("ours") / "certs")
    authority.issue("receiver", "127.0.0.1")
    authority.issue("elsewhere", "studio.example")
    authority.issue("camera")
    authority.issue("stale", "127.0.0.1", days=0)
    return authority


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority.make(tmp_path_factory.mktemp("others") / "certs")
    authority.issue("camera")
    return authority


def receiving(authority: Authority, name: str = "receiver", **more: Any) -> Receiving:
    return Receiving(tls_cert=authority.folder / f"{name}.pem", tls_key=authority.folder / f"{name}.key", **more)


def showing(authority: Authority, name: str) -> dict[str, Any]:
    return {"tls_cert": authority.folder / f"{name}.pem", "tls_key": authority.folder / f"{name}.key"}


async def deliver(ends: Ends, at: Receiving, by: Sending, frames: int = 20) -> list[int]:
    """What arrives of so many frames."""
    pipeline = Pipeline()
    _, address = await ends.server(pipeline, security=at)
    client, _ = ends.client(address, security=by, connect_timeout=1.0)
    await client.connect()
    await send_all(client, 0, frames)
    await client.drain()
    return pipeline.decoded


async def test_with_the_right_certificates_everything_arrives(ends: Ends, ours: Authority) -> None:
    at = receiving(ours, tls_ca=ours.certificate)
    by = Sending(tls_ca=ours.certificate, **showing(ours, "camera"))
    assert await deliver(ends, at, by) == list(range(20))


async def test_encryption_without_certificates_of_senders(ends: Ends, ours: Authority) -> None:
    assert await deliver(ends, receiving(ours), Sending(tls_ca=ours.certificate)) == list(range(20))


async def test_another_name_can_be_expected(ends: Ends, ours: Authority) -> None:
    by = Sending(tls_ca=ours.certificate, tls_name="studio.example")
    assert await deliver(ends, receiving(ours, "elsewhere"), by) == list(range(20))


Case = tuple[Callable[[Authority, Authority], tuple[Receiving, Sending]], str]
REFUSED: dict[str, Case] = {
    "an authority that the sender does not trust": (
        lambda ours, others: (receiving(ours), Sending(tls_ca=others.certificate)),
        "does not hold: .*; give the authority that signed it as --tls-ca",
    ),
    "an expired certificate of the receiver": (
        lambda ours, _: (receiving(ours, "stale"), Sending(tls_ca=ours.certificate)),
        "does not hold: certificate has expired; issue a new one",
    ),
    "a certificate for another host": (
        lambda ours, _: (receiving(ours, "elsewhere"), Sending(tls_ca=ours.certificate)),
        "does not hold: .*mismatch.*; issue one for that name, or give --tls-name",
    ),
    "a sender without a certificate": (
        lambda ours, _: (receiving(ours, tls_ca=ours.certificate), Sending(tls_ca=ours.certificate)),
        "wants a certificate: give --tls-cert and --tls-key",
    ),
    "a sender's certificate of another authority": (
        lambda ours, others: (
            receiving(ours, tls_ca=ours.certificate),
            Sending(tls_ca=ours.certificate, **showing(others, "camera")),
        ),
        "does not accept --tls-cert: it has expired, or another authority signed it",
    ),
    "a sender's expired certificate": (
        lambda ours, _: (
            receiving(ours, tls_ca=ours.certificate),
            Sending(tls_ca=ours.certificate, **showing(ours, "stale")),
        ),
        "does not accept --tls-cert: it has expired",
    ),
    "a sender in plain text": (lambda ours, _: (receiving(ours), Sending()), "encrypts: leave out --insecure"),
    "a receiver in plain text": (
        lambda ours, _: (Receiving(), Sending(tls_ca=ours.certificate)),
        "does not encrypt: give it a certificate, or --insecure here",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_and_told_why(ends: Ends, ours: Authority, others: Authority, case: str) -> None:
    pair, measurement = REFUSED[case]
    with pytest.raises(PeerError, match=measurement):
        await deliver(ends, *pair(ours, others))


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def with_token(tmp_path: Path, token: str) -> Sending:
    path = tmp_path / hashlib.sha256(token.encode()).hexdigest()[:8]
    path.write_text(token + "\n")
    return Sending(token_file=path)


NOW = datetime.now(UTC)


async def test_a_token_lets_in(ends: Ends, tmp_path: Path, tokens: Path) -> None:
    by = with_token(tmp_path, add_token(tokens, "studio", 30, NOW))
    assert await deliver(ends, Receiving(tokens=tokens), by) == list(range(20))


async def test_no_token_an_unknown_an_expired_and_a_revoked_one(ends: Ends, tmp_path: Path, tokens: Path) -> None:
    add_token(tokens, "studio", None, NOW)
    expired = add_token(tokens, "old", 1, NOW - timedelta(days=2))
    revoked = add_token(tokens, "stolen", 30, NOW)
    revoke_token(tokens, "stolen")
    at = Receiving(tokens=tokens)
    for by, measurement in (
        (Sending(), "a token is wanted here: give --token-file"),
        (with_token(tmp_path, "made-up"), "the token is not known here"),
        (with_token(tmp_path, expired), "the token of old expired on"),
        (with_token(tmp_path, revoked), "the token of stolen was revoked"),
    ):
        with pytest.raises(PeerError, match=measurement):
            await deliver(ends, at, by)


async def test_a_token_that_is_revoked_ends_the_stream(ends: Ends, tmp_path: Path, tokens: Path) -> None:
    by = with_token(tmp_path, add_token(tokens, "studio", 30, NOW))
    pipeline = Pipeline()
    _, address = await ends.server(pipeline, security=Receiving(tokens=tokens))
    client, _ = ends.client(address, security=by)
    await client.connect()
    await send_all(client, 0, 5)
    await pipeline.until_decoded(4)
    revoke_token(tokens, "studio")
    with pytest.raises(PeerError, match="the token of studio was revoked"):
        async with asyncio.timeout(10):
            await send_all(client, 5, 100_000)


async def test_certificates_change_without_losing_a_frame(ends: Ends, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "certs")
    authority.issue("receiver", "127.0.0.1", days=0)
    authority.issue("receiver", "127.0.0.1")
    pipeline = Pipeline()
    _, address = await ends.server(pipeline, security=receiving(authority))
    relay = await ends.relay(address)
    client, seen = ends.client(relay.address, security=Sending(tls_ca=authority.certificate))
    await client.connect()
    await send_all(client, 0, 50)
    # A new certificate, in place of the old one, from a new authority: only what is read anew can hold.
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
    assert len(seen.lost) == 1


async def test_one_sender_has_only_so_many_sessions(ends: Ends) -> None:
    _, address = await ends.server(Pipeline(), security=Receiving(peer_sessions=2))
    for _ in range(2):
        await ends.client(address)[0].connect()
    with pytest.raises(PeerError, match="as many sessions as one sender may have"):
        await ends.client(address)[0].connect()


async def test_who_brings_too_much_is_read_slowly_and_loses_nothing(ends: Ends) -> None:
    pipeline = Pipeline()
    _, address = await ends.server(pipeline, security=Receiving(peer_bytes_per_second=4000.0))
    client, _ = ends.client(address)
    await client.connect()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    frames = 300
    await send_all(client, 0, frames)
    await client.drain()
    assert pipeline.decoded == list(range(frames))
    # Each message is above 30 bytes; the first second's worth is free.
    assert loop.time() - began_s > 30 * frames / 4000.0 - 1.0


@pytest.mark.parametrize(("wish", "answers"), [(None, True), (True, True), (False, False)])
async def test_reflection_on_the_loopback(ends: Ends, wish: bool | None, answers: bool) -> None:
    _, address = await ends.server(Pipeline(), security=Receiving(reflection=wish))
    async with grpc.aio.insecure_channel(str(address)) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        try:
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            names = {service.name for service in (await call.read()).list_services_response.service}
        except grpc.aio.AioRpcError as error:
            names = {error.code().name}
    assert (STREAM_SERVICE in names) is answers


async def test_a_sender_may_come_back_from_another_address(ends: Ends) -> None:
    pipeline = Pipeline()
    _, address = await ends.server(pipeline)
    relay = await ends.relay(address)
    client, seen = ends.client(relay.address)
    await client.connect()
    await send_all(client, 0, 20)
    relay.source = "127.0.0.2"
    relay.cut()
    await send_all(client, 20, 40)
    await client.drain()
    assert pipeline.decoded == list(range(40))
    assert pipeline.opened == 1
    assert len(seen.lost) == 1


def test_other_machines_may_not_reach_it_in_the_open() -> None:
    everywhere, open_to_all = Address("0.0.0.0", 50051), Receiving(insecure=True)
    with pytest.raises(UsageError, match="or --insecure"):
        Receiving().check(everywhere)
    with pytest.raises(UsageError, match="lets everybody read the tokens"):
        Receiving(insecure=True, tokens=Path("tokens.toml")).check(everywhere)
    open_to_all.check(everywhere)
    assert not open_to_all.reflects(everywhere)


def test_a_sender_encrypts_to_other_machines_unless_told_not_to(tmp_path: Path) -> None:
    there, here = Address("studio.example", 50051), Address("localhost", 50051)
    assert Sending().encrypts(there)
    assert not Sending(insecure=True).encrypts(there)
    assert not Sending().encrypts(here)
    assert Sending(tls_ca=Path("ca.pem")).encrypts(here)
    by = with_token(tmp_path, "secret")
    assert read_token(by, there) == "secret"
    with pytest.raises(UsageError, match="for all to read"):
        read_token(replace(by, insecure=True), there)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Sending(tls_cert=Path("x")), "belong together"),
        (lambda: Sending(insecure=True, tls_ca=Path("x")), "choose"),
        (lambda: Receiving(tls_key=Path("x")), "belong together"),
        (lambda: Receiving(tls_ca=Path("x")), "takes --tls-cert"),
        (lambda: Receiving(insecure=True, tls_cert=Path("x"), tls_key=Path("x")), "leave one out"),
        (lambda: Receiving(peer_sessions=0), "above 0"),
    ],
)
def test_contradictions_are_refused(make: Callable[[], object], measurement: str) -> None:
    with pytest.raises(ValueError, match=measurement):
        make()


def test_files_that_are_missing_or_something_else_are_named(tmp_path: Path, tokens: Path) -> None:
    there, text = Address("studio.example", 1), tmp_path / "text"
    text.write_text("two words")
    with pytest.raises(UsageError, match=r"--tls-ca: cannot read .*nowhere"):
        read_credentials(Sending(tls_ca=tmp_path / "nowhere"), there)
    with pytest.raises(UsageError, match="is no PEM file"):
        read_credentials(Sending(tls_ca=text), there)
    with pytest.raises(UsageError, match="holds no token"):
        read_token(Sending(token_file=text), there)
    with pytest.raises(UsageError, match="is no token file"):
        TokenFile(text)
    add_token(tokens, "studio", 1, NOW)
    with pytest.raises(UsageError, match="has no token for nobody"):
        revoke_token(tokens, "nobody")


def test_the_token_file_holds_no_token_and_is_nobody_elses(tokens: Path) -> None:
    token = add_token(tokens, "studio", 1, NOW)
    assert token not in tokens.read_text()
    assert tokens.stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="has a token for studio"):
        add_token(tokens, "studio", 1, NOW)
    with pytest.raises(UsageError, match="is no name"):
        add_token(tokens, "a b", 1, NOW)
