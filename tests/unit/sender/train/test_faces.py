"""Heads that are rendered to train on, and what is made of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.body.anatomy import FACIAL_ACTIONS
from common.synthetic.motion.faces import recorded_faces
from sender.face.actions import FaceActions, FaceActionsConfig
from sender.train.faces.__main__ import gains, linear_effects, strangers, unexplained
from sender.train.faces.people import judged_faces
from sender.train.faces.samples import draw_activations

COUNT = len(FACIAL_ACTIONS)


def test_drawn_activations_are_possible() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_activations(rng, None) for _ in range(400)])
    assert drawn.min() == 0 and drawn.max() <= 1
    assert 0.05 < (drawn.max(axis=1) == 0).mean() < 0.15
    left, right = (drawn[:, FACIAL_ACTIONS.index(f"eyeLookOut{side}")] for side in ("Left", "Right"))
    assert not (left * right).any(), "eyes diverge"


def test_curves_are_read_in_our_order(tmp_path: Path) -> None:
    names = ["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in reversed(FACIAL_ACTIONS))]
    values = [f"{number / 100:.3f}" for number in range(COUNT)]
    (tmp_path / "curve.csv").write_text(",".join(names) + "\n" + ",".join(["0", "61", *values]) + "\n")
    np.testing.assert_allclose(recorded_faces([tmp_path / "curve.csv"])[0], np.arange(COUNT)[::-1] / 100, atol=1e-6)


def test_judged_faces_answer_all_questions() -> None:
    answers = np.array(list(judged_faces().values()))
    assert answers.shape == (124, 3)
    assert set(answers.ravel()) == {"?", "closed", "parted", "open", "no", "yes", "down"}


def test_what_actions_explain_is_no_identity() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, (COUNT, 60)).astype(np.float32)
    activations = rng.uniform(0, 1, (500, COUNT)).astype(np.float32) ** 4
    explained = activations @ truth
    noise = rng.normal(0, 0.1, explained.shape).astype(np.float32)
    effects, covariance = linear_effects(explained + noise, activations)
    np.testing.assert_allclose(effects, truth, atol=0.3)
    rest = unexplained((explained + noise)[:20], effects, covariance, np.full(COUNT, 0.4, np.float32))
    assert np.linalg.norm(rest) < 0.5 * np.linalg.norm(explained[:20])


def test_strangers_are_as_different_as_the_known() -> None:
    torch.manual_seed(0)
    known = torch.randn(300, 2) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]])
    known -= known.mean(dim=0)
    assert torch.allclose(strangers(known, 40_000).T.cov(), known.T.cov(), atol=0.15)


def test_gain_is_that_of_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    net = FaceActions(FaceActionsConfig(components=COUNT, width=8))
    monkeypatch.setattr(net, "forward", lambda z, rotation: z)
    truth = torch.rand(50, COUNT)
    truth[:, FACIAL_ACTIONS.index("tongueOut")] = 0
    guess = truth.clone()
    guess[:, [FACIAL_ACTIONS.index(name) for name in ("mouthSmileLeft", "eyeWideLeft", "eyeWideRight")]] = 0
    found = dict(zip(FACIAL_ACTIONS, gains(net, guess, torch.eye(3).expand(50, 3, 3), truth).tolist(), strict=True))
    assert (found["jawOpen"], found["tongueOut"]) == (1, 0)
    assert found["mouthSmileLeft"] == found["mouthSmileRight"] == pytest.approx(0.5)
    assert found["eyeWideLeft"] == pytest.approx(0)
