"""What people wear, as it has arrived, and what they are dressed in."""

from collections.abc import Collection, Mapping

from common.blobs import Blob
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.wears import WITHDRAWN, Wears
from receiver.outfits.mixture import Kinds, kept_kinds


class ReceivedWears:
    """What the people of a session wear: blobs of the kind `WEARS`.

    Mappings that were asked for stay as they are when others arrive: a request in the engine refers to them.
    """

    def __init__(self) -> None:
        self._newest: dict[int, Wears] = {}
        self._kinds: dict[int, Kinds] = {}
        self._worn: dict[int, Wears] = {}

    @property
    def newest(self) -> Mapping[int, Wears]:
        """By identity what has arrived."""
        return self._newest

    @property
    def worn(self) -> Mapping[int, Wears]:
        """By identity the kinds that were drawn, as known; they stay while the posterior finds them plausible."""
        return self._worn

    def take(self, blob: Blob) -> None:
        """Takes a blob of the kind. Raises MalformedPacket if it does not decode, or for its identity."""
        identity = blob.key
        if identity >= IDENTITIES:
            raise MalformedPacket(f"clothes of person {identity}; identities end at {IDENTITIES - 1}")
        if blob.data == WITHDRAWN:
            self.forget({identity})
            return
        try:
            posterior = Wears.decode(blob.data)
        except ValueError as error:
            raise MalformedPacket(str(error)) from error
        self._newest = {**self._newest, identity: posterior}
        self._kinds[identity] = kept_kinds(posterior, identity, self._kinds.get(identity, {}))
        self._worn = {**self._worn, identity: posterior.as_known(self._kinds[identity])}

    def forget(self, identities: Collection[int]) -> None:
        """Drops what these people wear."""
        for identity in identities:
            self._kinds.pop(identity, None)
        self._newest = {each: wears for each, wears in self._newest.items() if each not in identities}
        self._worn = {each: worn for each, worn in self._worn.items() if each not in identities}
