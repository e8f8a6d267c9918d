from common.recording.varints import VarintReader, append_signed, append_varint

_NUMBERS = [0, 1, 63, 64, 127, 128, 300, 2**31, 2**62 - 1]


def test_small_magnitudes_of_either_sign_take_one_byte() -> None:
    data = bytearray()
    for number in (0, -1, 1, -2, 2, -64, 63):
        append_signed(data, number)
    assert list(data) == [0, 1, 2, 3, 4, 127, 126]


def test_numbers_come_back() -> None:
    signed = [*_NUMBERS, *(-number - 1 for number in _NUMBERS)]
    data = bytearray()
    for number in _NUMBERS:
        append_varint(data, number)
    for number in signed:
        append_signed(data, number)
    reader = VarintReader(bytes(data))
    assert [reader.varint() for _ in _NUMBERS] == _NUMBERS
    assert [reader.signed() for _ in signed] == signed
    assert reader.position == len(data)
