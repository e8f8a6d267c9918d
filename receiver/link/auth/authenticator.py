"""Identifies senders by token, certificate or address."""

from dataclasses import dataclass
from typing import Any

from receiver.link.auth.tokens import TokenFile, TokenRefused

_BEARER = "Bearer "


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Identity of a connected sender.

    Args:
        name: owner of its token; else of its certificate; else its address.
        token: the token presented, to be checked again later.
        proven: the name is that of a token or certificate. An address proves nothing and may change.
    """

    name: str
    token: str | None
    proven: bool


class Authenticator:
    """Identifies senders, and refuses those without a valid token.

    Args:
        tokens: the valid tokens; None admits every sender that TLS admitted.
    """

    def __init__(self, tokens: TokenFile | None) -> None:
        self._tokens = tokens

    def authenticate(self, context: Any) -> PeerIdentity:
        """Identifies the sender of a stream.

        Args:
            context: the stream's gRPC context.

        Raises:
            TokenRefused: a token is required, and the sender presents none or an invalid one.
        """
        if self._tokens is None:
            name = _certificate_name(context)
            return PeerIdentity(name or _host(context.peer()), None, proven=name is not None)
        presented = dict(context.invocation_metadata() or ()).get("authorization", "")
        if not isinstance(presented, str) or not presented.startswith(_BEARER):
            raise TokenRefused("a token is required: give --token-file")
        token = presented.removeprefix(_BEARER)
        return PeerIdentity(self._tokens.name_of(token), token, proven=True)

    def check(self, identity: PeerIdentity) -> None:
        """Checks whether a sender is still admitted.

        Raises:
            TokenRefused: its token has expired or was revoked since.
        """
        if self._tokens is not None and identity.token is not None:
            self._tokens.name_of(identity.token)


def _certificate_name(context: Any) -> str | None:
    names = context.auth_context().get("x509_common_name", [])
    return names[0].decode(errors="replace") if names else None


def _host(peer: str) -> str:
    """`ipv4:10.0.0.7:40112` and `ipv6:%5B::1%5D:40112` without the port."""
    return peer.rpartition(":")[0] or peer
