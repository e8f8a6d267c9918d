"""What the sender assumes of the channel, from measurements that are older than the picture."""

import pytest

from sender.jscc.channel_estimate import Assumed, ChannelEstimate


def estimate(*snrs_db: float, spacing_s: float = 0.2) -> ChannelEstimate:
    """After measurements of pictures 0, 1, … that follow each other."""
    made = ChannelEstimate(7.0)
    for number, snr_db in enumerate(snrs_db):
        made.sent(number, number * spacing_s)
        made.measured(number, snr_db)
    return made


def test_assumed_before_any_measurement_is_the_configured_snr() -> None:
    assert ChannelEstimate(7.0).assumed(3.0) == Assumed(7.0, None)


def test_assumed_after_a_constant_channel_has_no_margin() -> None:
    assumed = estimate(*[9.0] * 8).assumed(1.6)
    assert assumed.snr_db == 9.0 and assumed.age_s == pytest.approx(0.2)


def test_margin_is_the_usual_change_in_as_much_time() -> None:
    falling = estimate(*(12.0 - number for number in range(10)))
    assert falling.assumed(2.0).snr_db == pytest.approx(3.0 - 1.0)
    # 0.4 s later the channel has changed by 1 dB in each 0.2 s: pairs that are 0.4 s or 0.6 s apart count.
    assert 3.0 - 3.0 < falling.assumed(2.3).snr_db < 3.0 - 2.0


def test_margin_is_cautious_while_little_is_known() -> None:
    assert estimate(9.0).assumed(0.2).snr_db == pytest.approx(6.0)
    assert estimate(*[9.0] * 8).assumed(100.0).snr_db == pytest.approx(6.0), "nothing is known of so long a time"


def test_margin_stops_where_the_networks_know_no_worse_channel() -> None:
    assert estimate(0.5).assumed(0.2).snr_db == -1.0
    assert estimate(-5.0).assumed(0.2).snr_db == -5.0
    assert estimate(-30.0).assumed(0.2).snr_db == -30.0
    assert estimate(60.0, 60.0, 60.0, 60.0).assumed(0.8).snr_db == 60.0


def test_measurements_that_overtake_or_were_never_asked_for_do_not_count() -> None:
    made = estimate(9.0, 9.0, 9.0)
    made.sent(3, 0.6)
    made.sent(4, 0.8)
    made.measured(4, 9.0)
    for sequence in (3, 4, 99):
        made.measured(sequence, -1.0)
    assert made.assumed(1.0).snr_db == pytest.approx(9.0)


def test_another_source_begins_anew() -> None:
    made = estimate(9.0, 9.0, 9.0)
    made.reset()
    made.measured(2, 9.0)
    assert made.assumed(0.0) == Assumed(7.0, None)
