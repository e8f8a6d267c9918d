"""The age of a frame, from the clocks of sender and receiver."""

from receiver.link.session import SenderClock

# The oldest frames are those that a sender without a link has kept in its spool. A larger age or clock error comes from
# a wrong clock.
_MAX_AGE_S = 30 * 86_400.0


def age_and_error_ms(now_s: float, captured_at: float, clock: SenderClock | None) -> tuple[float | None, float | None]:
    """Age of a frame and its largest error in milliseconds; None where unknown, or absurd because a clock is wrong.

    Args:
        now_s: the present on this machine's clock, seconds since the epoch.
        captured_at: of the frame, on the sender's clock.
        clock: offset of the two; before they are compared it is taken as zero: on one machine it is.
    """
    age_s = now_s - (clock.offset_s if clock else 0.0) - captured_at
    age_ms = age_s * 1e3 if abs(age_s) <= _MAX_AGE_S else None
    return age_ms, clock.error_s * 1e3 if clock and clock.error_s <= _MAX_AGE_S else None
