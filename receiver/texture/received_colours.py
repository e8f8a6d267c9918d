"""Colours of people's surface points that have arrived."""

from common.texture.point_colours import PointColours, decode
from receiver.received_by_person import ReceivedByPerson


class ReceivedColours(ReceivedByPerson[PointColours]):
    """The colours of a session's people: blobs of the kind `COLOURS`."""

    named = "colours"

    def decode(self, data: bytes) -> PointColours:
        return decode(data)
