"""Connects to one receiver: attempts with backoff, until a handshake succeeds or the time is over."""

import asyncio
import random

from common.errors import PeerError
from common.io.addresses import Address
from common.wire.convert import Hello, Welcome
from common.wire.stream import StreamBroken
from sender.link.transport.handshake import ClientStream, StreamOpener, shake_hands
from sender.link.transport.standby_connection import StandbyConnection

# A receiver that restarts is found within the longest delay.
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 1.0
# Time limit of a handshake, which doubles after each failure: a peer may accept the connection and send nothing.
_FIRST_HANDSHAKE_TIMEOUT_S, _MAX_HANDSHAKE_TIMEOUT_S = 1.0, 4.0
# The first diagnosis may be wrong: a receiver may have opened its port between the attempt and the diagnosis.
_MAX_DIAGNOSES = 2
_REFUSAL_CODES = (
    *("INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"),
    *("UNAUTHENTICATED", "PERMISSION_DENIED"),
)


class Backoff:
    """Delays that double up to a cap, each shortened at random by up to half to spread the attempts of many senders.

    Args:
        first_s: the longest first delay.
        cap_s: the longest later delay.

    Raises:
        ValueError: not 0 < first_s <= cap_s.
    """

    def __init__(self, first_s: float, cap_s: float, rng: random.Random) -> None:
        if not 0 < first_s <= cap_s:
            raise ValueError(f"a backoff needs 0 < first ({first_s} s) <= cap ({cap_s} s)")
        self._first_s = first_s
        self._cap_s = cap_s
        self._rng = rng
        self._next_s = first_s

    def reset(self) -> None:
        """Starts again with the shortest delay: an attempt succeeded."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """The delay before the next attempt, in seconds."""
        delay_s = self._next_s * self._rng.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, self._cap_s)
        return delay_s


class Connector:
    """Opens streams to one receiver, one at a time.

    Args:
        transport: opens connections and diagnoses failures.
        rng: jitter of the backoff.
    """

    def __init__(self, peer: Address, transport: StreamOpener, rng: random.Random) -> None:
        self._peer = peer
        self._transport = transport
        self._backoff = Backoff(_FIRST_BACKOFF_S, _MAX_BACKOFF_S, rng)
        self.standby: StandbyConnection[ClientStream] = StandbyConnection(lambda: transport.reach(peer))

    async def open(self, hello: Hello, timeout_s: float, *, reconnect: bool = False) -> tuple[ClientStream, Welcome]:
        """Connects and shakes hands.

        Args:
            timeout_s: how long to keep trying.
            reconnect: there was a receiver at this address before, so anything else that answers there is ignored
                until the time is over.

        Raises:
            PeerError: nothing answers, or something that is not a receiver.
            ModelMismatch: the receiver has other weights.
            VersionMismatch: the receiver has another version of the protocol.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        handshake_timeout_s, diagnoses = _FIRST_HANDSHAKE_TIMEOUT_S, 0
        while True:
            try:
                async with asyncio.timeout_at(deadline_s):
                    stream = await self.standby.take()
                    welcome = await shake_hands(self._peer, hello, stream, handshake_timeout_s)
                self._backoff.reset()
                return stream, welcome
            except TimeoutError:
                reason = "no answer"
            except StreamBroken as error:
                _raise_if_refused(self._peer, error)
                reason = error.reason
            handshake_timeout_s = min(2 * handshake_timeout_s, _MAX_HANDSHAKE_TIMEOUT_S)
            delay_s = self._backoff.next_s()
            late = loop.time() + delay_s >= deadline_s
            diagnosis = None if reconnect and not late else await self._transport.diagnose(self._peer)
            diagnoses += diagnosis is not None
            if late or diagnoses >= _MAX_DIAGNOSES:
                unreachable = (
                    f"no receiver at {self._peer} within {timeout_s:g} s ({reason}): start it, or check --peer"
                )
                raise PeerError(diagnosis or unreachable)
            await asyncio.sleep(delay_s)


def _raise_if_refused(peer: Address, error: StreamBroken) -> None:
    if error.code == "UNIMPLEMENTED":
        raise PeerError(f"{peer} is a gRPC server, but not a Bodywire receiver: check --peer") from error
    if error.code in _REFUSAL_CODES:
        raise PeerError(f"the receiver at {peer} refused the connection: {error.reason}") from error
