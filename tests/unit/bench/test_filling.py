import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import MalformedPacket
from tests.network.filling import fill, labels_in


@given(labels=st.binary(max_size=100), total_bytes=st.integers(0, 400))
def test_labels_come_out_of_the_filling(labels: bytes, total_bytes: int) -> None:
    filled = fill(labels, total_bytes)
    assert labels_in(filled) == labels
    assert len(filled) == max(total_bytes, len(labels) + 4)


@pytest.mark.parametrize("payload", [b"", b"abc", b"\xff\xff\xff\xff"])
def test_what_was_not_filled_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        labels_in(payload)
