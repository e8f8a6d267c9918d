"""The sender's trainings as programs: examples, a few steps on a GPU, and export."""

import argparse
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from common.body.label_space import LabelSpace, SurfaceSpace
from common.body.model import BodyModel, KeypointKinematics
from common.errors import UsageError
from common.labels import LABEL_SIZE, group_slices
from common.synthetic.dataset import DRESSED, SPLITS
from common.synthetic.motion.windows import write_windows
from common.synthetic.render_shards import Task, render_shard
from common.training.run import parse, train
from common.weights.loader import load_recorded, load_weights
from common.weights.manifest import find_entry, read_manifest
from receiver.train.motion import Errors, received_labels
from sender.perception import detect as detector
from sender.perception import movenet, predictor
from sender.perception.detect import NanoDetConfig, NanoDetNet
from sender.perception.movenet import MoveNetConfig, MoveNetGraph, MoveNetNet
from sender.perception.perception_network import CERTAINTIES, FEATURE_SIZE, PerceptionConfig, PerceptionNet
from sender.perception.read import EVIDENCE, Verifier
from sender.semantics.bodies import ENTRIES
from sender.semantics.refine import ERRORS_NAME, PoseErrors
from sender.train import (
    confidence,
    image_channel,
    keypoint_fusion,
    perceived_motion,
    perception,
    pose_errors,
    quantisation,
    verifier,
    wears,
)
from sender.train.crops import CropBatch
from sender.train.importance import Displacement, measure_groups, sample_bodies
from sender.train.keypoint_fusion import Seen, cross_validated, fit
from sender.train.perception import best_mask_threshold, mixed_loss, shift_mask_threshold
from sender.train.photographs import dataset as photographs
from sender.train.photographs import pseudo_keypoints
from sender.train.photographs.dataset import SOURCES, PhotographDataset, convert
from sender.train.pose_errors import Samples
from sender.train.quantisation import Subject, calibrated
from sender.train.verifier import Examples, area_under_curve
from tests.support.motion.made_motion import gliding
from tests.support.pictures.photograph_sources import write_judgements, write_photographs
from tests.support.training.training_examples import assert_shipped, flags_of_examples, recipe_of, train_on_gpu
from tests.unit.sender.train.test_augment import bar_people
from tests.unit.sender.train.test_crops import TINY, crops, random_crops


def examples(count: int, seed: int) -> Examples:
    """Positive examples with sharp first keypoints and a surer second opinion; the detector's scores are random."""
    generator = torch.Generator().manual_seed(seed)
    person = (torch.rand(count, generator=generator) < 0.4).float()
    evidence = torch.randn(count, EVIDENCE, generator=generator)
    evidence[:, 17:34] -= 0.8 * person[:, None]
    return Examples(
        evidence,
        person,
        torch.rand(count, generator=generator),
        2 * person + torch.randn(count, generator=generator),
        torch.full((count,), 100),
    )


def test_area_under_the_curve() -> None:
    person = torch.tensor([False, False, True, True])
    assert area_under_curve(torch.tensor([0.1, 0.3, 0.2, 0.4]), person) == 0.75
    assert torch.isnan(torch.tensor(area_under_curve(torch.ones(2), torch.tensor([True, True]))))


def test_photographs_are_those_that_are_held_back_in_likely_proportions(tmp_path: Path) -> None:
    convert(write_photographs(tmp_path), tmp_path / "out")
    options = argparse.Namespace(data=[], seed=0, photographs=tmp_path / "out")
    learned, validated = ([*verifier.frames_of(options, split, 0)] for split in SPLITS[:2])
    held_back = PhotographDataset(tmp_path / "out", "val")
    names = {source: [held_back[index].name for index in held_back.indices(source)] for source in SOURCES[:2]}
    assert [frame.name for frame, _ in learned] == names["openimages"] != []
    assert [frame.name for frame, _ in validated] == names["people"] != []
    (frame, judged), *_ = learned
    left, top, right, bottom = frame.boxes[0].round().astype(int)
    assert frame.image.shape == (83, 111, 3) and not judged
    assert frame.image[top + 4 : bottom - 4, left + 4 : right - 4, 0].min() > 200
    assert np.delete(frame.image, slice(left - 4, right + 4), axis=1)[..., 0].max() < 100


def test_examples_parse() -> None:
    for module in (perception, verifier):
        commands = flags_of_examples(module)
        assert commands, module.__name__
        for flags in commands:
            assert parse(recipe_of(module), flags).data, module.__name__
    assert all(parse(recipe_of(image_channel), flags).photographs for flags in flags_of_examples(image_channel))
    assert all(parse(recipe_of(wears), flags).openimages for flags in flags_of_examples(wears)[1:])
    other: tuple[ModuleType, ...] = (confidence, photographs, pseudo_keypoints)
    for module in other:
        assert all(module.parse(flags).out for flags in flags_of_examples(module)), module.__name__


@pytest.fixture(scope="module")
def dressed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of two crops of people in outfits of known kinds."""
    folder: Path = tmp_path_factory.mktemp("dressed")
    render_shard(Task(folder, "train", 0, 0, 2, 192, DRESSED))
    return str(folder)


@pytest.mark.slow
def test_wears(dressed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = write_photographs(tmp_path / "sources", 10)
    write_judgements(folders, monkeypatch)
    rendered, seen = ["--rendered", dressed], ["--observed", str(tmp_path / "observed")]
    people, openimages = (["--" + name, str(folders[name])] for name in ("people", "openimages"))
    training, runs = wears.WearsTraining, tmp_path / "runs"
    first = [*rendered, *seen, *openimages, "--photographs", "0.5", "--batch", "4"]
    _, document = train_on_gpu(monkeypatch, training, runs / "rendered", *first)
    one_source = document["photographed"]
    assert (document["rendered"], document["scores"]["sleeve"]) == (2, pytest.approx(0.5, abs=0.5))
    later = [*rendered, *seen, *people, *openimages, "--start", str(runs / "rendered"), "--batch", "4"]
    network, document = train_on_gpu(monkeypatch, training, runs / "all", *later, steps=1)
    assert one_source < document["photographed"] < 20, "some of both are held back"
    assert document["steps_before"] == 2
    exported = load_weights("wears", directory=runs / "all" / "weights")
    assert exported.keys() == network.state_dict().keys() and exported["mass"][0] == 0, "nobody's hair was judged"
    begun = train_on_gpu(monkeypatch, training, runs / "begun", *rendered, *seen, *people, "--shipped", steps=0)
    assert_shipped(*begun, "wears")
    with pytest.raises(UsageError, match="at least one source"):
        train(training, parse(training, [*rendered, "--out", str(runs / "none")]))


@pytest.mark.slow
def test_perception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = BodyModel.load()
    monkeypatch.setattr(perception, "PerceptionConfig", partial(PerceptionConfig, **asdict(TINY)))
    monkeypatch.setattr(perception, "training_batches", lambda *_: (random_crops(body, 2, seed) for seed in range(9)))
    monkeypatch.setattr(perception, "validation_batches", lambda *_, **__: iter([random_crops(body, 2)]))
    bar_people(tmp_path / "data", 32)
    photographs.convert(write_photographs(tmp_path / "sources"), tmp_path / "photographs")
    data = ["--data", str(tmp_path / "data"), "--photographs", str(tmp_path / "photographs")]
    training = perception.PerceptionTraining
    _, document = train_on_gpu(monkeypatch, training, tmp_path, *data, "--batch", "4")
    assert {"mpjpe_pose_mm", "photographs_pck10"} <= document["scores"].keys()
    entry = read_manifest(tmp_path / "weights")["perception"]
    assert (entry.recipe["images_seen"], entry.recipe["crops"], entry.precision) == (8, 8, "bf16")


@pytest.mark.slow
def test_verifier_separates_people_from_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    val = examples(400, seed=1)
    monkeypatch.setattr(verifier, "gather", lambda _o, split, *_: examples(1024, 0) if split == "train" else val)
    flags = ["--data", "x", "--photographs", "x", "--batch", "128"]
    network, document = train_on_gpu(monkeypatch, verifier.VerifierTraining, tmp_path, *flags, steps=300)
    scores = document["scores"]
    assert scores["auc"] > 0.97
    assert scores["auc"] > scores["auc_alone"]
    assert scores["auc_detector"] == pytest.approx(0.5, abs=0.1)
    assert scores["kept"] > 0.85
    assert scores["false_per_frame"] < 0.3
    false = ((val.score >= 0.25) & (val.person < 0.5)).sum() / 100
    assert scores["false_per_frame_detector"] == pytest.approx(float(false), abs=1e-4)
    assert Verifier.load(tmp_path / "weights").net.state_dict().keys() == network.state_dict().keys()


PEOPLE = 2


@pytest.fixture(scope="module")
def displacement() -> Displacement:
    space = LabelSpace.load()
    return Displacement(BodyModel.load(), space, SurfaceSpace.load(), space.encode(sample_bodies(PEOPLE, seed=1)))


def change_of(name: str, entry: int, sigma: float) -> torch.Tensor:
    change = torch.zeros(LABEL_SIZE)
    change[group_slices()[name].start + entry] = sigma
    return change


def test_displacement_is_that_of_the_surface(displacement: Displacement) -> None:
    still, small, large = (displacement.mm(change_of("left_leg", 0, sigma)) for sigma in (0.0, 0.05, 0.1))
    assert still == 0.0 and small > 0.5
    assert large == pytest.approx(2 * small, rel=0.05)
    assert displacement.mm(change_of("surface", 0, 0.5)) > 0.5, "clothes move the surface"
    # x/z has a standard deviation of 0.25; a tenth of it at the people's mean depth.
    depth = sample_bodies(PEOPLE, seed=1).translation[:, 2].mean().item()
    assert displacement.mm(change_of("root", 6, 0.1)) == pytest.approx(0.1 * 0.25 * depth * 1000, rel=1e-3)
    steps = torch.zeros(LABEL_SIZE)
    steps[group_slices()["torso"]] = 0.05
    omega = measure_groups(displacement, steps.double().numpy(), PEOPLE, seed=1)
    assert omega["torso"] > 0.5, "of its own steps"
    assert omega["root"] == omega["head"] == omega["appearance"] == 0.0


def test_fused_keypoints_are_more_often_right_than_either_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keypoint_fusion, "_STEPS", 40)
    torch.manual_seed(0)
    shape = (50, 17)
    truth, right, one, number = torch.rand(*shape, 2), torch.rand(shape) < 0.75, torch.ones(shape), torch.arange(50)
    # Perception is always near; MoveNet is exact where its score is high, and elsewhere wrong.
    own = truth + 0.04 * torch.randn(*shape, 2), 0.04 * one, one
    places = torch.where(right[..., None], truth + 0.01 * torch.randn(*shape, 2), torch.rand(*shape, 2))
    second = places, torch.where(right, 0.8, 0.1), 0.02 * one, 0.01 * one, 0 * one
    seen = Seen(*own, *second, truth, one, right.float(), one, number, 0 * number, number >= 0)
    scores = cross_validated(seen)
    assert scores["pck05"] > max(scores["own_pck05"], scores["movenet_pck05"]) + 0.05
    half = number % 2 == 0
    mixture, logit = fit(seen[~half])(seen[half].own, seen[half].second)
    found, sigma = mixture.densest()
    z2 = float(((found - truth[half]).square().sum(dim=-1) / 2 / sigma.square()).mean())
    assert 0.3 < z2 < 3, "squared errors of a coordinate over their variances"
    brier, own_brier = (float((each.sigmoid() - seen.visible[half]).square().mean()) for each in (logit, one[half]))
    assert brier < 0.1 < own_brier


def test_rendered_crops_are_resampled_with_their_maps() -> None:
    batch = random_crops(BodyModel.load())
    larger = batch.resized(2 * batch.image.shape[-1])
    assert larger.image.shape[-1] == 2 * batch.image.shape[-1]
    assert larger.mask.shape[-1] == larger.depth.shape[-1] == larger.part.shape[-1] == larger.image.shape[-1] // 2
    assert torch.equal(larger.part[:, ::2, ::2].long(), batch.part)
    assert torch.equal(larger.depth[:, 1::2, 1::2], batch.depth)
    torch.testing.assert_close(larger.mask.mean(), batch.mask.mean(), atol=1e-3, rtol=0)
    assert batch.resized(batch.image.shape[-1]) is batch


def test_a_step_lowers_the_loss_of_a_mixed_batch() -> None:
    body = BodyModel.load()
    net, rendered = PerceptionNet(TINY), random_crops(body)
    loss_of = partial(mixed_loss, KeypointKinematics(body))
    optimiser, losses = torch.optim.AdamW(net.parameters(), lr=1e-3), []
    for _ in range(3):
        loss, terms = loss_of(net, rendered, crops(len(rendered)))
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert {"mask.dice", "depth.l1", "photographs.heat", "photographs.skeleton"} <= terms.keys()
    assert losses[2] < losses[0]


def net_and_truth(threshold: float) -> tuple[PerceptionNet, CropBatch]:
    """A network whose masks are exact at `threshold`."""
    torch.manual_seed(0)
    net, crops = PerceptionNet(TINY).eval(), random_crops(BodyModel.load())
    with torch.no_grad():
        logits = net(crops.image).mask_logits
        net.mask.read.weight[:4] *= 2.0 / logits.std()
        return net, replace(crops, mask=(net(crops.image).mask_logits > threshold).float())


def test_best_threshold_is_found_and_shifted_to_zero() -> None:
    net, truth = net_and_truth(0.75)
    threshold = best_mask_threshold(net, [truth, truth])
    assert abs(threshold - 0.75) < 0.2
    before = net(truth.image)
    shift_mask_threshold(net, threshold)
    after = net(truth.image)
    torch.testing.assert_close(after.mask_logits, before.mask_logits - threshold, atol=1e-4, rtol=0)
    torch.testing.assert_close(after.part_logits, before.part_logits)
    assert abs(best_mask_threshold(net, [truth])) < 0.13


def people(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Certainties, and errors whose deviation grows with the first of them."""
    generator = torch.Generator().manual_seed(seed)
    certainties = 3 + 2 * torch.randn(count, CERTAINTIES, generator=generator)
    sigma = (0.4 * (certainties[:, :1] - 3) - 1).exp()
    return certainties, sigma * torch.randn(count, ENTRIES, generator=generator)


def test_deviations_follow_what_perception_is_sure_of_on_other_people() -> None:
    net, (certainties, errors) = pose_errors.fit(*people(3000, 0)), people(1000, 1)
    log_sigma = net(certainties)
    known, constant = (
        pose_errors.surprise(each, errors).mean() for each in (log_sigma, errors.square().mean(0).log() / 2)
    )
    assert known < constant - 0.2
    assert (log_sigma.mean(1) - 0.4 * (certainties[:, 0] - 3) + 1).abs().mean() < 0.25


def test_examples_parse_and_export_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(pose_errors.parse(flags).data for flags in flags_of_examples(pose_errors))
    generator = torch.Generator().manual_seed(0)
    shapes = ((FEATURE_SIZE,), (ENTRIES,))
    samples = Samples(*(torch.randn(64, *shape, generator=generator) for shape in shapes))
    monkeypatch.setattr(pose_errors, "gather", lambda *_: (samples, samples))
    weights = tmp_path / "weights"
    flags = ["--data", "x", "--out", str(tmp_path / "out"), "--export", "--weights", str(weights)]
    pose_errors.train(pose_errors.parse(flags))
    expected = pose_errors.fit(*pose_errors.errors_of(samples))
    torch.testing.assert_close(PoseErrors.load(weights).state_dict(), expected.state_dict())
    assert (weights / f"{ERRORS_NAME}.safetensors").exists()


def test_ranges_of_the_layers_that_are_worth_it() -> None:
    small, of_picture, estimate = nn.Conv2d(3, 64, 1, bias=False), nn.Conv2d(3, 256, 7), nn.Conv2d(256, 4, 3, padding=1)
    large = nn.Conv2d(64, 256, 3, padding=1)
    network = nn.Sequential(small, large, estimate)
    nn.init.constant_(small.weight, 1.0)
    inputs = [(torch.full((1, 3, 8, 8), value),) for value in (0.5, 2.0, -1.0)]
    assert calibrated(of_picture, [(torch.ones(1, 3, 80, 80),)]) == {}
    assert calibrated(network, inputs) == {"1": (-3.0, 6.0)}
    # The networks run in several threads: nothing of the calibration may stay.
    assert not large._forward_hooks


def test_ranges_that_cost_accuracy_are_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("detector", nn.Identity(), [(torch.zeros(1, 3, 8, 8),)], lambda _: {}, "ap")
    monkeypatch.setattr(quantisation, "subjects", lambda *_: iter([subject]))
    monkeypatch.setattr(quantisation, "calibrated", lambda *_: {"layer": (0.0, 1.0)})
    monkeypatch.setattr(quantisation, "scored", lambda _subject, int8: {"ap": 0.4 if int8 else 0.5})
    monkeypatch.setattr(quantisation, "add_entry", lambda *_: pytest.fail("exported"))
    with pytest.raises(UsageError, match=r"8 bits cost detector 0\.100 of ap"):
        quantisation.calibrate(quantisation.parse(["--photographs", "x", "--export"]))


@pytest.mark.parametrize("name", [predictor.WEIGHTS_NAME, detector.WEIGHTS_NAME, *movenet.NAMES])
def test_shipped_ranges_are_of_layers_that_the_network_has(name: str) -> None:
    if name == predictor.WEIGHTS_NAME:
        network: nn.Module = predictor.PerceptionGraph(
            load_recorded(name, predictor.KIND, PerceptionConfig, PerceptionNet)
        )
    elif name in movenet.NAMES:
        network = MoveNetGraph(load_recorded(name, movenet.KIND, MoveNetConfig, MoveNetNet))
    else:
        network = load_recorded(name, detector.KIND, NanoDetConfig, NanoDetNet)
    ranges = find_entry(name).int8
    assert set(ranges) <= dict(network.named_modules()).keys()
    assert all(low <= 0 < high for low, high in ranges.values())
    assert len(ranges) > 10


@pytest.mark.slow
def test_packets_are_of_the_people_that_the_truth_tells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceived_motion, "_FRAMES", 5)
    write_windows([gliding("cmu/013_18", 20, 0.5)], tmp_path / "windows", 30)
    out = tmp_path / "perceived" / "train.npz"
    flags = ["--windows", str(tmp_path / "windows"), "--count", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["perceived_motion", *flags])
    perceived_motion.main()
    changes = Errors.of(LabelSpace.load(), *received_labels(out)).changes
    assert changes.shape == (2, 4, 67) and torch.isfinite(changes).all()
    assert changes[..., -3:].norm(dim=-1).max() < 0.8, "metres"
    assert 0.0 < changes[..., :-6].abs().mean() < 1.0, "standard deviations"
