"""What the motion network reads of labels."""

import math

import torch

from common.body.model import axis_angle_to_matrix
from common.motion.network import (
    POSE_SIZE,
    TOKENS,
    WINDOW_TOKENS,
    Poses,
    after_change,
    chosen_labels,
    tokens,
)


def some_poses(people: int, labels: int) -> Poses:
    generator = torch.Generator().manual_seed(3)
    vectors = 0.4 * torch.randn(people, labels, 3, generator=generator)
    return Poses(
        torch.randn(people, labels, POSE_SIZE, generator=generator),
        axis_angle_to_matrix(vectors),
        torch.randn(people, labels, 3, generator=generator),
    )


def counted(ages_s: list[float]) -> list[list[int]]:
    """The labels that count of each window."""
    label, counts = chosen_labels(torch.tensor([ages_s]))
    windows = zip(label[0].split(WINDOW_TOKENS), counts[0].split(WINDOW_TOKENS), strict=True)
    return [chosen[known].tolist() for chosen, known in windows]


def test_windows_take_what_is_near_their_times_once() -> None:
    near, middle, far = counted([number / 30 for number in range(121)])
    assert near == list(range(8)) and far == [15 * number for number in range(8)]
    assert len(middle) == 8 and all(abs(age - 3.75 * number) < 0.6 for number, age in enumerate(middle))
    assert counted([number / 4 for number in range(17)]) == [[0], [0, 1, 2, 3], [0, 2, 4, 6, 8, 10, 12, 14]]
    assert counted([0.0, math.inf]) == [[0], [0], [0]]


def test_tokens_do_not_depend_on_where_somebody_is_and_what_way_they_face() -> None:
    poses, ages = some_poses(2, TOKENS), torch.rand(2, TOKENS)
    about = axis_angle_to_matrix(torch.tensor([0.0, 2.1, 0.0]))
    elsewhere = Poses(poses.entries, about @ poses.orientation, poses.position @ about.T + 3.0)
    for here, there in zip(tokens(poses, ages), tokens(elsewhere, ages), strict=True):
        torch.testing.assert_close(here, there, atol=2e-5, rtol=1e-4)
    change = torch.randn(2, POSE_SIZE + 6)
    moved, moved_there = (
        after_change(Poses(*(column[:, 0] for column in each.columns())), change) for each in (poses, elsewhere)
    )
    torch.testing.assert_close(about @ moved.orientation, moved_there.orientation, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved.position @ about.T + 3.0, moved_there.position, atol=1e-5, rtol=1e-4)
