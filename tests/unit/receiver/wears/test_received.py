import numpy as np
import pytest

from common.blobs import WEARS, Blob
from common.errors import MalformedPacket
from common.wear_kinds import VALUES
from common.wears import WITHDRAWN, Wears
from receiver.outfits.mixture import PLAIN
from receiver.wears.received import ReceivedWears


def blob(identity: int, first: float = 1.0) -> Blob:
    shares = {name: np.array([first, 1 - first, *[0] * (len(values) - 2)]) for name, values in VALUES.items()}
    return Blob(WEARS, identity, Wears({name: values.astype(np.float32) for name, values in shares.items()}).encode())


def worn(received: ReceivedWears, identity: int) -> Wears:
    _, drawn = received.of(identity)
    assert drawn is not None
    return drawn


def test_newest_replaces() -> None:
    received = ReceivedWears()
    for first in (1.0, 0.2):
        received.take(blob(3, first))
    posterior, _ = received.of(3)
    assert posterior is not None and posterior.likeliest()["sleeve"][0] == "sleeveless"


def test_withdrawn_identity_wears_nothing_known() -> None:
    received = ReceivedWears()
    received.take(blob(3))
    received.take(blob(4))
    received.take(Blob(WEARS, 3, WITHDRAWN))
    assert received.of(3) == (None, None) and received.of(4) != (None, None)
    received.forget({4, 5})
    assert received.of(4) == (None, None)


@pytest.mark.parametrize(
    "malformed",
    [
        Blob(WEARS, 256, blob(0).data),
        Blob(WEARS, 0, blob(0).data[:-1]),
        Blob(WEARS, 0, blob(0).data + b"\0"),
        Blob(WEARS, 0, b"\xff" * 13),
    ],
)
def test_malformed(malformed: Blob) -> None:
    received = ReceivedWears()
    with pytest.raises(MalformedPacket):
        received.take(malformed)
    assert received.of(malformed.key) == (None, None)


@pytest.mark.parametrize("identity", range(8))
def test_people_keep_their_kinds_while_a_posterior_moves(identity: int) -> None:
    received = ReceivedWears()
    received.take(sleeves(identity, 0.6))
    before = worn(received, identity).likeliest()
    drawn = set()
    for short in (0.53, 0.47, 0.4, 0.47, 0.6):
        received.take(sleeves(identity, short))
        drawn.add(worn(received, identity).encode())
        assert worn(received, identity).likeliest() == before
    assert len(drawn) == 1
    received.take(sleeves(identity, 0.0 if before["sleeve"][0] == "short" else 1.0))
    assert worn(received, identity).likeliest()["sleeve"] != before["sleeve"]


def sleeves(identity: int, short: float) -> Blob:
    shares = np.array([0, 0, short, 1 - short], np.float32)
    return Blob(WEARS, identity, Wears({**PLAIN.posterior, "sleeve": shares}).encode())
