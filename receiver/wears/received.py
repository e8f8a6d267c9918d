"""What people wear, as it has arrived, and what they are dressed in."""

from collections.abc import Collection

from common.blobs import Blob
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.wears import WITHDRAWN, Wears
from receiver.outfits.mixture import Kinds, kept_kinds


class ReceivedWears:
    """What the people of a session wear: blobs of the kind `WEARS`."""

    def __init__(self) -> None:
        # Of each person what has arrived, the kinds that were drawn, and the posterior with these as known.
        self._newest: dict[int, tuple[Wears, Kinds, Wears]] = {}

    def of(self, identity: int) -> tuple[Wears | None, Wears | None]:
        """What has arrived of a person, and the same with the kinds that were drawn as known.

        Kinds that were drawn stay while the posterior finds them plausible.
        """
        if identity not in self._newest:
            return None, None
        posterior, _, known = self._newest[identity]
        return posterior, known

    def take(self, blob: Blob) -> None:
        """Takes a blob of the kind. Raises MalformedPacket if it does not decode, or for its identity."""
        identity = blob.key
        if identity >= IDENTITIES:
            raise MalformedPacket(f"clothes of person {identity}; identities end at {IDENTITIES - 1}")
        if blob.data == WITHDRAWN:
            self._newest.pop(identity, None)
            return
        try:
            posterior = Wears.decode(blob.data)
        except ValueError as error:
            raise MalformedPacket(str(error)) from error
        before = self._newest[identity][1] if identity in self._newest else {}
        kinds = kept_kinds(posterior, identity, before)
        self._newest[identity] = posterior, kinds, posterior.as_known(kinds)

    def forget(self, identities: Collection[int]) -> None:
        """Drops what these people wear."""
        for identity in identities:
            self._newest.pop(identity, None)
