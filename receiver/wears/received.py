"""What people wear, as it has arrived."""

from common.errors import MalformedPacket
from common.wears import WITHDRAWN, Wears
from receiver.received_by_person import ReceivedByPerson


class ReceivedWears(ReceivedByPerson[Wears]):
    """What the people of a session wear: blobs of the kind `WEARS`."""

    named = "clothes"

    def decode(self, data: bytes) -> Wears | None:
        if data == WITHDRAWN:
            return None
        try:
            return Wears.decode(data)
        except ValueError as error:
            raise MalformedPacket(str(error)) from error
