"""Checks of the fields of messages: sizes, ranges, and what they count."""

from common.errors import MalformedPacket
from common.frames import MAX_FRAME_SEQUENCE

NO_SEQUENCE = -1
"""No frame, where a sequence is optional."""
MAX_SEQUENCE = MAX_FRAME_SEQUENCE + 1
"""Largest number of a frame that comes next; no frame has it."""
MAX_BLOB_BYTES = 1_048_576
MAX_BLOB = 2**32 - 1
MAX_TIME_NS = 2**62
MAX_TIME_US = MAX_TIME_NS // 1000


def require(valid: bool, rule: str) -> None:
    if not valid:
        raise MalformedPacket(f"a message is invalid: {rule}")


def require_sequence(sequence: int, *, optional: bool = False) -> None:
    lowest = NO_SEQUENCE if optional else 0
    require(lowest <= sequence <= MAX_SEQUENCE, f"a sequence is between {lowest} and 2^53 - 1")


def require_blob(number: int) -> None:
    require(1 <= number <= MAX_BLOB, "blobs are counted from 1, in 32 bits")


def require_blob_bytes(*counts: int) -> None:
    rule = f"a blob has at most {MAX_BLOB_BYTES} bytes"
    require(all(0 <= count <= MAX_BLOB_BYTES for count in counts), rule)


def require_times(*times_ns: int) -> None:
    require(all(0 <= time_ns <= MAX_TIME_NS for time_ns in times_ns), "a time is between 0 and 2^62 ns")


def require_times_us(*times_us: int) -> None:
    require(all(0 <= time_us <= MAX_TIME_US for time_us in times_us), "a time is between 0 and 2^62 ns")
