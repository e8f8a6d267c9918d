import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import MalformedPacket
from common.frames import MAX_CAPTURED_AT_S
from common.wire.pictures import (
    ANSWER_PREFIX,
    MAX_HEADER_BYTES,
    MAX_IMAGE_BYTES,
    MESSAGE_PREFIX,
    PictureAccepted,
    PictureHeader,
    PictureRefused,
    check_sizes,
    decode_answer,
    decode_header,
    encode_answer,
    encode_picture,
)

_names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=50)
_headers = st.builds(
    PictureHeader,
    st.none() | _names,
    st.none() | st.floats(0, MAX_CAPTURED_AT_S),
    st.none() | st.floats(1.0, 10_000.0),
)


@given(_headers, st.binary(min_size=1, max_size=100))
def test_messages_round_trip(header: PictureHeader, image: bytes) -> None:
    message = encode_picture(header, image)
    header_bytes, image_bytes = MESSAGE_PREFIX.unpack_from(message)
    check_sizes(header_bytes, image_bytes)
    start = MESSAGE_PREFIX.size + header_bytes
    assert decode_header(message[MESSAGE_PREFIX.size : start]) == header
    assert message[start:] == image and len(image) == image_bytes


def test_answers_round_trip() -> None:
    for answer in (PictureAccepted("a", 3, 2), PictureRefused("it is no picture")):
        data = encode_answer(answer)
        assert ANSWER_PREFIX.unpack_from(data) == (len(data) - ANSWER_PREFIX.size,)
        assert decode_answer(data[ANSWER_PREFIX.size :]) == answer


def test_header_that_makes_no_sense_is_refused() -> None:
    for header, reason in (
        (b"no JSON", "header: Invalid JSON"),
        (b"[" * 4000, "header: Invalid JSON"),
        (b"\xff\xfe", "header: Invalid JSON"),
        (b"[]", "header: Input should be an object"),
        (b'{"focal": 3}', "header.focal: Unexpected"),
        (b'{"\\u001b[2J": 3}', r"header.\\x1b\[2J: Unexpected"),
        (b'{"name": 3}', "header.name: Input should be a valid string"),
        (b'{"name": "two\\nlines"}', "header.name: .* printable"),
        (b'{"name": "\\ud800"}', "header: Invalid JSON"),
        (b'{"name": ""}', "1 to 200 bytes"),
        (json.dumps({"name": "ü" * 101}).encode(), "1 to 200 bytes"),
        (b'{"captured_at": "now"}', "header.captured_at: Input should be a valid number"),
        (b'{"captured_at": -1}', "header.captured_at: .*times are seconds"),
        (b'{"captured_at": 1e300}', "header.captured_at: .*times are seconds"),
        (b'{"captured_at": true}', "header.captured_at: Input should be a valid number"),
        (b'{"focal_px": NaN}', "header.focal_px: Input should be a finite number"),
        (b'{"focal_px": ' + b"9" * 1000 + b"}", "header.focal_px: Input should be"),
        (b'{"focal_px": 0}', "header.focal_px: Input should be greater"),
    ):
        with pytest.raises(MalformedPacket, match=reason):
            decode_header(header)


def test_sizes_out_of_range_are_refused() -> None:
    for sizes in ((0, 1), (1, 1), (MAX_HEADER_BYTES + 1, 1), (2, 0), (2, MAX_IMAGE_BYTES + 1), (2**32 - 1, 2**32 - 1)):
        with pytest.raises(MalformedPacket):
            check_sizes(*sizes)


def test_answer_that_makes_no_sense_is_refused() -> None:
    for answer in (
        b"",
        b"3",
        b"{}",
        b'{"accepted": true}',
        b'{"accepted": true, "source": "a", "width": {}, "height": 1}',
    ):
        with pytest.raises(MalformedPacket):
            decode_answer(answer)
