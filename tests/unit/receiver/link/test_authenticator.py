from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from receiver.link.auth.authenticator import Authenticator, PeerIdentity, host_of
from receiver.link.auth.tokens import TokenFile, TokenRefused, add_token
from receiver.link.refusals import OwnKind, OwnSender, OwnSenders


class Context:
    """What gRPC knows of a stream."""

    def __init__(self, *, common_name: bytes | None = None, token: str = "", encrypted: bool = False) -> None:
        self._names = {} if common_name is None else {"x509_common_name": [common_name]}
        self._names["transport_security_type"] = [b"ssl" if encrypted else b"insecure"]
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def peer(self) -> str:
        return "ipv4:10.0.0.7:40112"

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._names

    def invocation_metadata(self) -> Any:
        return self._metadata

    async def abort(self, code: grpc.StatusCode, reason: str) -> None:
        raise AssertionError(f"{code}: {reason}")


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.7:40112", "ipv4:10.0.0.7"),
        ("ipv6:%5B2001:db8:0:7:1:2:3:4%5D:40112", "ipv6:2001:db8:0:7::/64"),
        ("ipv6:[2001:db8:0:7:ffff::1]:40112", "ipv6:2001:db8:0:7::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:40112", "ipv6:fe80::/64"),
        ("ipv6:[::ffff:10.0.0.7]:40112", "ipv4:10.0.0.7"),
        ("unix:", "unix"),
        ("unknown", "unknown"),
        ("ipv6:no address:1", "ipv6:no address"),
    ],
)
def test_host_of_a_peer(peer: str, host: str) -> None:
    assert host_of(peer) == host


def test_account_is_the_proven_identity_else_the_host(tmp_path: Path) -> None:
    everybody = Authenticator(None, OwnSenders())
    assert everybody.authenticate(Context()).account == "ipv4:10.0.0.7"
    camera = everybody.authenticate(Context(common_name=b"camera"))
    assert (camera.subject, camera.account) == ("certificate:camera", "certificate:camera")
    token = add_token(tmp_path / "tokens.toml", "camera", None, datetime.now(UTC))
    identity = Authenticator(TokenFile(tmp_path / "tokens.toml"), OwnSenders()).authenticate(Context(token=token))
    assert identity == PeerIdentity("token:camera", "ipv4:10.0.0.7", token)
    with pytest.raises(TokenRefused, match="a token is required"):
        Authenticator(TokenFile(tmp_path / "tokens.toml"), OwnSenders()).authenticate(Context(common_name=b"camera"))


def test_name_of_a_certificate_is_printable() -> None:
    names = [
        Authenticator(None, OwnSenders()).authenticate(Context(common_name=name)).subject
        for name in (b"a\x1b[2J\n", b"a\\x1b")
    ]
    assert all(name.isprintable() for name in names)
    assert len(set(names)) == 2


def test_processes_of_the_receiver_are_known_by_their_tokens_alone() -> None:
    own, sender = OwnSenders(), OwnSender("clip", "clip-of-anna", OwnKind.CLIP)
    token = own.admit(sender)
    authenticators = [Authenticator(None, own, encrypted=True), Authenticator(None, own, public=False)]
    for authenticator in authenticators:
        identity = authenticator.authenticate(Context(token=token))
        assert identity.own is sender and identity.account == "token:clip-of-anna"
        for stranger in (Context(), Context(token="guessed")):
            with pytest.raises(TokenRefused, match="only processes of the receiver"):
                authenticator.authenticate(stranger)
    encrypted = Context(common_name=b"camera", encrypted=True)
    assert authenticators[0].authenticate(encrypted).subject == "certificate:camera"
    own.dismiss(sender)
    with pytest.raises(TokenRefused):
        authenticators[0].authenticate(Context(token=token))
