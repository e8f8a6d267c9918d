import asyncio
import zlib
from collections.abc import Callable

import pytest

from common.blobs import Blob
from common.errors import ChecksumMismatch, MalformedPacket
from common.frames import MAX_FRAME_SEQUENCE
from common.wire.convert import Chunk
from common.wire.stream import StreamBroken
from receiver.link.session import BlobAssembly, Claim, SessionUse
from tests.support.link.counting_codec import new_session, settle


def test_leap_is_refused_and_the_session_stays_resumable() -> None:
    session = new_session()
    session.handled(9)
    session.check_leap(10 + 2**31)
    for sequence in (11 + 2**31, MAX_FRAME_SEQUENCE):
        with pytest.raises(MalformedPacket, match="ahead of frame 10"):
            session.check_leap(sequence)
    assert (session.next_sequence, session.decodable_from) == (10, 9)


DATA = b"abcdefgh"


def _first(data: bytes = DATA, *, total: int = len(DATA), checksum: int = zlib.crc32(DATA), blob: int = 1) -> Chunk:
    return Chunk(blob, 0, data, "colours", 7, total, checksum)


def test_chunks_are_assembled_also_behind_an_unfinished_blob_and_from_a_restarted_sender() -> None:
    assembly = BlobAssembly()
    assert assembly.add(_first(DATA[:3])) is None
    assert assembly.add(Chunk(1, 3, DATA[3:])) == Blob("colours", 7, DATA)
    assert assembly.add(_first(DATA[:3], blob=2)) is None
    assert assembly.add(_first(blob=3)) == Blob("colours", 7, DATA)
    restarted = _first(b"other", total=5, checksum=zlib.crc32(b"other"), blob=1)
    assert assembly.add(restarted) == Blob("colours", 7, b"other")


@pytest.mark.parametrize(
    "chunks",
    [
        [_first(DATA[:2]), Chunk(1, 3, b"x")],
        [_first(DATA[:2]), Chunk(2, 2, b"x")],
        [_first(DATA[:2]), Chunk(1, 2, bytes(7))],
        [Chunk(1, 3, b"x")],
        [_first(total=7)],
    ],
    ids=["gap", "another blob", "too long", "without a first chunk", "first chunk too long"],
)
def test_chunks_that_do_not_follow_are_malformed(chunks: list[Chunk]) -> None:
    assembly = BlobAssembly()
    for chunk in chunks[:-1]:
        assembly.add(chunk)
    with pytest.raises(MalformedPacket):
        assembly.add(chunks[-1])


def test_blob_with_a_wrong_checksum_is_dropped() -> None:
    assembly = BlobAssembly()
    with pytest.raises(ChecksumMismatch, match="blob 1 has a wrong checksum"):
        assembly.add(_first(checksum=0))
    assert assembly.add(_first(blob=2)) == Blob("colours", 7, DATA)


class Evictions:
    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def callback(self, number: int) -> Callable[[StreamBroken], None]:
        return lambda reason: self.seen.append((number, reason.code))


async def test_claim_between_release_and_the_next_user_evicts_that_user() -> None:
    use, evictions = SessionUse(), Evictions()
    await use.claim(evictions.callback(1))
    second = asyncio.create_task(use.claim(evictions.callback(2)))
    await settle()
    use.release()
    third = asyncio.create_task(use.claim(evictions.callback(3)))
    await settle()
    assert (await second, third.done()) == (Claim.GRANTED, False)
    assert evictions.seen[-1] == (2, "ABORTED")
    use.release()
    assert await third is Claim.GRANTED


async def test_cancelled_claim_gives_its_turn_back() -> None:
    use = SessionUse()
    for released_first in (False, True):
        await use.claim(lambda _: None)
        waiting = asyncio.create_task(use.claim(lambda _: None))
        await settle()
        if released_first:
            use.release()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not released_first:
            use.release()
        assert not use.active


async def test_close_waits_for_the_present_user_and_refuses_every_claim() -> None:
    use, evictions = SessionUse(), Evictions()
    await use.claim(evictions.callback(1))
    waiting = asyncio.create_task(use.claim(evictions.callback(2)))
    await settle()
    closing = asyncio.create_task(use.close(StreamBroken("RESOURCE_EXHAUSTED", "full")))
    await settle()
    assert not closing.done()
    assert evictions.seen == [(1, "ABORTED"), (1, "RESOURCE_EXHAUSTED")]
    use.release()
    assert await waiting is Claim.CLOSED
    await closing
    unused = SessionUse()
    await unused.close(StreamBroken("ABORTED", "a reason"))
    assert [await each.claim(evictions.callback(3)) for each in (use, unused)] == [Claim.CLOSED] * 2
