"""What is kept of people when a frame shows another source."""

import numpy as np

from common.blobs import TEXTURE, WEARS, Blob
from common.body.anatomy import ATLAS_SIZE
from common.texture.atlas_tiles import TILES
from common.texture.atlas_tiles import encode as encode_tile
from receiver.outfits.mixture import PLAIN
from receiver.received_people import ReceivedPeople
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
