import random

from sender.congestion.delay_gradient import DelayGradient

FRAME_MS = 33.0


def test_jitter_is_not_a_growing_queue() -> None:
    gradient, rng = DelayGradient(), random.Random(1)
    assert not any(gradient.update(1000.0 + rng.gauss(0.0, 2.0), number * FRAME_MS) for number in range(900))


def test_growing_queue_is_detected_at_any_clock_offset() -> None:
    for offset_ms in (-1e6, 0.0, 1e6):
        gradient = DelayGradient()
        for number in range(60):
            assert not gradient.update(offset_ms + 10.0, number * FRAME_MS)
        alarms = [gradient.update(offset_ms + 10.0 + 20.0 * late, (60 + late) * FRAME_MS) for late in range(1, 6)]
        assert any(alarms)


def test_threshold_adapts_to_oscillating_delays() -> None:
    def alarms(gradient: DelayGradient, begin: int) -> int:
        swings = (20.0 * ((number // 4) % 2) for number in range(begin, begin + 300))
        return sum(gradient.update(delay_ms, (begin + number) * FRAME_MS) for number, delay_ms in enumerate(swings))

    gradient = DelayGradient()
    first = alarms(gradient, 0)
    assert alarms(gradient, 300) <= first
