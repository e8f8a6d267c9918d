import random

from sender.congestion.delay_gradient import DelayGradient

FRAME_MS = 33.0


def test_jitter_is_no_growing_queue() -> None:
    gradient, rng = DelayGradient(), random.Random(1)
    assert not any(gradient.update(1000.0 + rng.gauss(0.0, 2.0), number * FRAME_MS) for number in range(900))


def test_a_queue_that_grows_is_seen_within_a_few_frames_whatever_the_clocks_say() -> None:
    for offset_ms in (-1e6, 0.0, 1e6):
        gradient = DelayGradient()
        for number in range(60):
            assert not gradient.update(offset_ms + 10.0, number * FRAME_MS)
        late = [gradient.update(offset_ms + 10.0 + 20.0 * each, (60 + each) * FRAME_MS) for each in range(1, 6)]
        assert any(late)


def test_a_queue_that_empties_is_none_that_grows() -> None:
    gradient = DelayGradient()
    assert not any(gradient.update(500.0 - 10.0 * number, number * FRAME_MS) for number in range(40))


def test_the_threshold_rises_where_delays_always_swing() -> None:
    def alarms(gradient: DelayGradient, begin: int) -> int:
        swings = (20.0 * ((number // 4) % 2) for number in range(begin, begin + 300))
        return sum(gradient.update(delay_ms, (begin + number) * FRAME_MS) for number, delay_ms in enumerate(swings))

    gradient = DelayGradient()
    first = alarms(gradient, 0)
    assert alarms(gradient, 300) <= first


def test_a_new_stream_begins_anew() -> None:
    gradient = DelayGradient()
    for number in range(10):
        gradient.update(10.0, number * FRAME_MS)
    gradient.restart()
    assert not any(gradient.update(900.0, (100 + number) * FRAME_MS) for number in range(10))
