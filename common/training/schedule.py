"""Learning rate over a training that is given minutes, not steps."""

import math


def warm_cosine(progress: float, warm_share: float = 0.05, floor: float = 0.01) -> float:
    """Factor on the peak learning rate: linear warm-up, then half a cosine down to `floor`.

    Args:
        progress: share of the training's time (or steps) that is over; beyond 1 stays at the floor.
        warm_share: share of the training spent warming up.
        floor: the factor at the end.
    """
    if progress < warm_share:
        return max(progress / warm_share, floor)
    rest = min((progress - warm_share) / (1 - warm_share), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * rest))
