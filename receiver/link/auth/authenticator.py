"""Identifies senders by token, certificate or address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import grpc

from common.io.addresses import address_key
from receiver.link.auth.tokens import TokenFile, TokenRefused
from receiver.link.refusals import OwnSender, OwnSenders

_BEARER = "Bearer "


class CallContext(Protocol):
    """What the service asks of a call, of gRPC or QUIC: as `grpc.aio.ServicerContext`."""

    def peer(self) -> str:
        """The sender's address, as gRPC writes it."""

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """Whether it is encrypted, and the names in the sender's certificate."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None:
        """The sender's token, if it has one."""

    async def abort(self, code: grpc.StatusCode, reason: str, /) -> None:
        """Ends the stream with a status."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Identity of a connected sender.

    Args:
        subject: the identity that it proved, `token:NAME` or `certificate:NAME`; empty if none.
        host: its address, which proves nothing and may change.
        token: the token presented, to be checked again later.
        own: the receiver's own process that has this identity.
        token_unchecked: it has presented a token, and there is no list of tokens.
    """

    subject: str
    host: str
    token: str | None = None
    own: OwnSender | None = None
    token_unchecked: bool = False

    @property
    def account(self) -> str:
        """Whose share of the receiver it uses."""
        return self.subject or self.host


class Authenticator:
    """Identifies senders; without `tokens`, each that TLS has admitted.

    Args:
        own: processes of the receiver, which connect on the loopback without encryption.
        encrypted: whether all others have to encrypt.
        public: whether there are others.
    """

    def __init__(
        self, tokens: TokenFile | None, own: OwnSenders, *, encrypted: bool = False, public: bool = True
    ) -> None:
        self._tokens, self._own = tokens, own
        self._encrypted, self._public = encrypted, public

    def authenticate(self, context: CallContext) -> PeerIdentity:
        """Identifies the sender of a stream. Raises TokenRefused without a valid token, where one is required."""
        presented = dict(context.invocation_metadata() or ()).get("authorization", "")
        has_token = isinstance(presented, str) and presented.startswith(_BEARER)
        token = str(presented).removeprefix(_BEARER) if has_token else ""
        own = self._own.find(token)
        if own is not None:
            return PeerIdentity(own.subject, host_of(context.peer()), own=own)
        if not self._public or (self._encrypted and not _is_encrypted(context)):
            raise TokenRefused("only processes of the receiver connect here")
        if self._tokens is None:
            host = host_of(context.peer())
            return PeerIdentity(_certificate_subject(context), host, token_unchecked=has_token)
        if not has_token:
            raise TokenRefused("a token is required: give --token-file")
        return PeerIdentity(f"token:{self._tokens.name_of(token)}", host_of(context.peer()), token)

    def check(self, identity: PeerIdentity) -> None:
        """Checks a sender again. Raises TokenRefused if its token has expired or was revoked since."""
        if self._tokens is not None and identity.token is not None:
            self._tokens.name_of(identity.token)


def _is_encrypted(context: CallContext) -> bool:
    return bool(context.auth_context().get("transport_security_type") == [b"ssl"])


def _certificate_subject(context: CallContext) -> str:
    names = context.auth_context().get("x509_common_name", [])
    # Escaped, because the name is logged; different names stay different.
    return f"certificate:{names[0].decode('latin-1').encode('unicode_escape').decode()}" if names else ""


def host_of(peer: str) -> str:
    """The address of a gRPC peer without its port; of IPv6 the network of 64 bits, which one machine may have alone.

    `ipv4:10.0.0.7:40112` is `ipv4:10.0.0.7`, `ipv6:%5B2001:db8::1%5D:40112` is `ipv6:2001:db8::/64`.
    """
    host = unquote(peer).rpartition(":")[0] or peer
    kind, _, text = host.partition(":")
    if kind != "ipv6":
        return host
    key = address_key(text.strip("[]"))
    # Of an IPv4 address on an IPv6 socket, the key is that address.
    return f"{'ipv4' if '.' in key else kind}:{key}"
