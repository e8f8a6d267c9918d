"""The receiver's end of the socket on which a sender takes pictures."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from common.errors import MalformedPacket
from common.wire.pictures import (
    ANSWER_PREFIX,
    MAX_ANSWER_BYTES,
    PictureAnswer,
    PictureHeader,
    PictureRefused,
    decode_answer,
    encode_picture,
)
from receiver.web.children.sender_child import ChildEnded

_GONE = "the sender process has ended"


class PictureSocket:
    """A connection to a sender; an asynchronous context manager.

    Args:
        path: of the sender's socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __aenter__(self) -> Self:
        """Connects.

        Raises:
            ChildEnded: nobody listens.
        """
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(self._path)
        except OSError as error:
            raise ChildEnded(_GONE) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def send(self, header: PictureHeader, image: bytes) -> PictureAnswer:
        """Sends a picture and waits for the answer.

        Raises:
            ChildEnded: the connection has ended, or its answer makes no sense.
        """
        try:
            message = encode_picture(header, image)
        except MalformedPacket as error:
            return PictureRefused(str(error))
        try:
            self._writer.write(message)
            await self._writer.drain()
            (size,) = ANSWER_PREFIX.unpack(await self._reader.readexactly(ANSWER_PREFIX.size))
            if size > MAX_ANSWER_BYTES:
                raise MalformedPacket(f"an answer of {size} bytes")
            return decode_answer(await self._reader.readexactly(size))
        except (OSError, asyncio.IncompleteReadError, MalformedPacket) as error:
            raise ChildEnded(_GONE) from error
