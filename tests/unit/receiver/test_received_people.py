"""What is kept of people when a frame shows another source."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from common.blobs import FACE, TEXTURE, WEARS, Blob
from common.body.anatomy import ATLAS_SIZE
from common.errors import MalformedPacket
from common.texture.atlas import TILES, Tile
from common.texture.atlas import WITHDRAWN as NO_TILE
from common.texture.atlas import encode as encode_tile
from common.texture.face_picture import FacePacket, FaceVideoEncoder
from common.wear_kinds import VALUES
from common.wears import WITHDRAWN, Wears
from receiver.outfits.mixture import PLAIN
from receiver.received_people import ReceivedPeople
from receiver.texture.received_texture import ReceivedTexture
from tests.support.receiver.fake_reconstructor import label_frame

EVERYWHERE = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
TILE = encode_tile(TILES[0], np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 90, np.uint8), EVERYWHERE)


def take(people: ReceivedPeople, *identities: int) -> None:
    for identity in identities:
        people.handlers[TEXTURE](Blob(TEXTURE, TILES[0].key(identity), TILE))
        people.handlers[WEARS](Blob(WEARS, identity, PLAIN.encode()))


def known(people: ReceivedPeople) -> list[set[int]]:
    appearance = people.appearance(label_frame(9, *range(9)), live=False).items()
    assert all((each.wears is None) == (each.worn is None) for _, each in appearance)
    return [
        {identity for identity, each in appearance if each.texture is not None},
        {identity for identity, each in appearance if each.worn is not None},
    ]


def test_people_are_kept_as_long_as_their_source_is_shown() -> None:
    people = ReceivedPeople()
    take(people, 1, 2)
    people.begin(label_frame(0, 1, 2, source="a.jpg"))
    people.begin(label_frame(1, 2, source="a.jpg"))
    assert known(people) == [{1, 2}] * 2
    # Blobs of a picture come before it, maybe before the one in between.
    take(people, 3, 4)
    people.begin(label_frame(2, 3, source="b.jpg"))
    assert known(people) == [{3, 4}] * 2
    people.begin(label_frame(3, source="c.jpg"))
    assert known(people) == [{4}] * 2


def test_identity_that_is_given_again_is_the_new_one() -> None:
    people = ReceivedPeople()
    people.begin(label_frame(0, 1, source="a.jpg"))
    take(people, 1)
    people.begin(label_frame(1, 1, source="b.jpg"))
    assert known(people) == [{1}] * 2


CLOCK = itertools.count()


def take_blob(people: ReceivedPeople, blob: Blob) -> None:
    people.handlers[blob.kind](blob)


def next_frame(people: ReceivedPeople, *, wait: bool) -> Mapping[int, ReceivedTexture]:
    """The textures of a frame of everybody, of which there are 30 a second."""
    frame = replace(label_frame(0, *range(256)), captured_at=next(CLOCK) / 30)
    appearance = people.appearance(frame, live=wait).items()
    return {identity: each.texture for identity, each in appearance if each.texture is not None}


def worn_of(people: ReceivedPeople, identity: int) -> tuple[Wears | None, Wears | None]:
    appearance = people.appearance(label_frame(0, identity), live=False)[identity]
    return appearance.wears, appearance.worn


def flat(tile: Tile, colour: int, known: np.ndarray = EVERYWHERE) -> bytes:
    return encode_tile(tile, np.full((ATLAS_SIZE, ATLAS_SIZE, 3), colour, np.uint8), known)


def tile_blob(identity: int, number: int = 0, data: bytes | None = None) -> Blob:
    tile = TILES[number]
    return Blob(TEXTURE, tile.key(identity), flat(tile, 90) if data is None else data)


def test_tiles_of_a_live_session_wait_for_others_except_the_first() -> None:
    textures = ReceivedPeople()
    take_blob(textures, tile_blob(3))
    first = next_frame(textures, wait=True)[3]
    take_blob(textures, tile_blob(3, 1))
    states = [next_frame(textures, wait=True)[3] for _ in range(40)]
    assert states[0] is first and len(states[-1].tiles) == 2
    assert len({id(state) for state in states}) == 2


def test_every_tile_counts_at_once_in_a_session_that_is_not_live() -> None:
    textures = ReceivedPeople()
    for number in range(3):
        take_blob(textures, tile_blob(3, number))
        assert len(next_frame(textures, wait=False)[3].tiles) == number + 1


def test_faces_are_kept_of_each_person() -> None:
    people, coder = ReceivedPeople(), FaceVideoEncoder(64)
    white = np.full((64, 64, 3), 250, np.uint8)
    packet = FacePacket(5, True, 64, bytes(12), coder.encode(white, 4000, key=True))
    later = FacePacket(5, False, 64, bytes(12), coder.encode(white, 400, key=False))
    people.handlers[FACE](Blob(FACE, 5, later.content))
    assert people.face(5) is None, "nothing came before it"
    people.handlers[FACE](Blob(FACE, 5, packet.content))
    people.handlers[FACE](Blob(FACE, 5, later.content))
    face = people.face(5)
    assert (
        face is not None and face.picture.shape == (64, 64, 3) and face.picture.min() > 240 and people.face(4) is None
    )
    for hostile in (Blob(FACE, 256, packet.content), Blob(FACE, 5, b"\x20" + bytes(30))):
        with pytest.raises(MalformedPacket):
            people.handlers[FACE](hostile)


def test_memory_is_limited_to_some_people() -> None:
    textures = ReceivedPeople()
    for identity in range(40):
        take_blob(textures, tile_blob(identity))
    assert len(known := next_frame(textures, wait=False)) <= 32 and 39 in known


@pytest.mark.parametrize("hostile", [Blob(TEXTURE, 2**31, NO_TILE), Blob(TEXTURE, 0, b"\x01RIFF")])
def test_hostile_tiles_change_nothing(hostile: Blob) -> None:
    textures = ReceivedPeople()
    take_blob(textures, tile_blob(0))
    before = next_frame(textures, wait=False)[0]
    with pytest.raises(MalformedPacket):
        take_blob(textures, hostile)
    assert next_frame(textures, wait=False)[0] is before


def wears_blob(identity: int, first: float = 1.0) -> Blob:
    shares = {name: np.array([first, 1 - first, *[0] * (len(values) - 2)]) for name, values in VALUES.items()}
    return Blob(WEARS, identity, Wears({name: values.astype(np.float32) for name, values in shares.items()}).encode())


def worn(received: ReceivedPeople, identity: int) -> Wears:
    _, drawn = worn_of(received, identity)
    assert drawn is not None
    return drawn


def test_withdrawn_identity_wears_nothing_known() -> None:
    received = ReceivedPeople()
    take_blob(received, wears_blob(3))
    take_blob(received, wears_blob(4))
    take_blob(received, Blob(WEARS, 3, WITHDRAWN))
    assert worn_of(received, 3) == (None, None) and worn_of(received, 4) != (None, None)


@pytest.mark.parametrize(
    "malformed",
    [
        Blob(WEARS, 256, wears_blob(0).data),
        Blob(WEARS, 0, wears_blob(0).data[:-1]),
        Blob(WEARS, 0, wears_blob(0).data + b"\0"),
        Blob(WEARS, 0, b"\xff" * 13),
    ],
)
def test_malformed(malformed: Blob) -> None:
    received = ReceivedPeople()
    with pytest.raises(MalformedPacket):
        take_blob(received, malformed)
    assert worn_of(received, malformed.key) == (None, None)


@pytest.mark.parametrize("identity", range(8))
def test_people_keep_their_kinds_while_a_posterior_moves(identity: int) -> None:
    received = ReceivedPeople()
    take_blob(received, sleeves(identity, 0.6))
    before = worn(received, identity).likeliest()
    drawn = set()
    for short in (0.53, 0.47, 0.4, 0.47, 0.6):
        take_blob(received, sleeves(identity, short))
        drawn.add(worn(received, identity).encode())
        assert worn(received, identity).likeliest() == before
    assert len(drawn) == 1
    take_blob(received, sleeves(identity, 0.0 if before["sleeve"][0] == "short" else 1.0))
    assert worn(received, identity).likeliest()["sleeve"] != before["sleeve"]


def sleeves(identity: int, short: float) -> Blob:
    shares = np.array([0, 0, short, 1 - short], np.float32)
    return Blob(WEARS, identity, Wears({**PLAIN.posterior, "sleeve": shares}).encode())
