"""What people wear, as it has arrived, and what they are dressed in."""

from collections.abc import Collection, Mapping

from common.blobs import Blob
from common.errors import MalformedPacket
from common.wears import WITHDRAWN, Wears
from receiver.outfits.mixture import Kinds, kept_kinds
from receiver.received_by_person import ReceivedByPerson


class ReceivedWears(ReceivedByPerson[Wears]):
    """What the people of a session wear: blobs of the kind `WEARS`."""

    named = "clothes"

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[int, Kinds] = {}
        self._worn: dict[int, Wears] = {}

    @property
    def worn(self) -> Mapping[int, Wears]:
        """By identity the kinds that were drawn, as known; they stay while the posterior finds them plausible."""
        return self._worn

    def take(self, blob: Blob) -> None:
        """As `ReceivedByPerson.take`."""
        super().take(blob)
        posterior = self.newest.get(blob.key)
        if posterior is None:
            self.forget({blob.key})
            return
        self._kinds[blob.key] = kept_kinds(posterior, blob.key, self._kinds.get(blob.key, {}))
        self._worn = {**self._worn, blob.key: posterior.as_known(self._kinds[blob.key])}

    def forget(self, identities: Collection[int]) -> None:
        """As `ReceivedByPerson.forget`."""
        super().forget(identities)
        self._kinds = {each: kinds for each, kinds in self._kinds.items() if each not in identities}
        self._worn = {each: worn for each, worn in self._worn.items() if each not in identities}

    def decode(self, data: bytes) -> Wears | None:
        if data == WITHDRAWN:
            return None
        try:
            return Wears.decode(data)
        except ValueError as error:
            raise MalformedPacket(str(error)) from error
