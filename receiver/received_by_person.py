"""What blobs have brought of a session's people, by identity."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

from common.blobs import Blob
from common.errors import MalformedPacket
from common.frames import IDENTITIES

Content = TypeVar("Content")


class ReceivedByPerson(ABC, Generic[Content]):
    """The newest blob of one kind of each person, decoded.

    Attributes:
        named: the content, in messages.
    """

    named = ""

    def __init__(self) -> None:
        self._newest: dict[int, Content] = {}

    @abstractmethod
    def decode(self, data: bytes) -> Content | None:
        """The content of a blob; None if it takes back what came before. Raises MalformedPacket if it is damaged."""

    @property
    def newest(self) -> Mapping[int, Content]:
        """By identity; stays as it is when others arrive."""
        return self._newest

    def take(self, blob: Blob) -> None:
        """Takes a blob of the kind. Raises MalformedPacket if it does not decode, or for its identity."""
        if blob.key >= IDENTITIES:
            raise MalformedPacket(f"{self.named} of person {blob.key}; identities end at {IDENTITIES - 1}")
        content = self.decode(blob.data)
        # A new mapping: a request in the engine refers to the old one.
        others = {each: known for each, known in self._newest.items() if each != blob.key}
        self._newest = others if content is None else {**others, blob.key: content}

    def forget(self, identities: Collection[int]) -> None:
        """Drops the contents of people."""
        self._newest = {each: known for each, known in self._newest.items() if each not in identities}
