"""From images at the sender to watertight meshes of human size and frame records at the receiver."""

import io
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import trimesh
from PIL import Image

from common.arrays import FloatArray
from common.labels import GROUP_NAMES
from common.wear_kinds import VALUES
from receiver.mesh.glb import GlbReader
from sender.capture.open import DEMO_CLIP
from tests.e2e.daemons import RunningReceiver, receiver, run
from tests.support.demo_clip import demo_picture
from tests.support.forked_program import ForkedProgram
from tests.support.free_port import free_port

FRAMES = 2
HIPS_PX = 310


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some frames of the demo clip, as image files; the last one ends at the hips."""
    folder = tmp_path_factory.mktemp("images")
    with av.open(str(DEMO_CLIP)) as clip:
        for index, frame in enumerate(clip.decode(video=0)):
            if index % 40 == 0 and index // 40 < FRAMES:
                shown = slice(None if index < 40 else HIPS_PX)
                Image.fromarray(frame.to_ndarray(format="rgb24")[shown]).save(folder / f"{index:03d}.png")
    return folder


def count_colours(mesh: Path) -> int:
    """Number of different vertex colours."""
    colours = GlbReader(mesh.read_bytes()).mesh()[0].colours
    assert colours is not None
    return len(np.unique(colours, axis=0))


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


def send(images: Path, to: RunningReceiver, *flags: str) -> None:
    done = run("sender", "--camera", str(images), "--peer", to.address, *flags)
    assert done.returncode == 0, done.stderr
    assert f"sent {FRAMES} frames" in done.stdout


def test_images_become_watertight_meshes_and_metrics(tmp_path: Path, images: Path) -> None:
    out, port = tmp_path / "out", free_port()
    with receiver(out, "--metrics", f"127.0.0.1:{port}") as running:
        send(images, running)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        code, errors = running.terminate()
    assert code == 0, errors
    for stage in ("codec", "decode", "diffusion", "surface", "publish"):
        assert f'bodywire_receiver_stage_seconds_count{{stage="{stage}"}} {float(FRAMES)}' in metrics
    assert f'bodywire_receiver_frames_total{{fate="published"}} {float(FRAMES)}' in metrics
    assert 'bodywire_receiver_label_bytes_total{group="root"}' in metrics
    lines = lines_of(out)
    assert [line["seq"] for line in lines] == list(range(FRAMES))
    assert [line["source"] for line in lines] == sorted(path.name for path in images.iterdir())
    for line, legs_seen in zip(lines, (True, False), strict=True):
        (person,) = line["people"]
        assert {limb for limb, seen in person["seen"].items() if not seen} == (
            set() if legs_seen else {"left_leg", "right_leg"}
        )
        assert {point[2] > 0 for point in person["keypoints_2d"][-4:]} == {legs_seen}
        assert len(person["keypoints_2d"]) == len(person["joints_3d"]) == 17
        assert set(line["rho"]) <= set(GROUP_NAMES)
        assert 0 < line["bytes"]["total"] <= 600
        mesh: Any = trimesh.load(out / person["surface"], force="mesh", process=True)
        assert mesh.is_watertight
        assert mesh.body_count == 1
        assert 0.5 < np.ptp(mesh.vertices, axis=0).max() < 2.6
        body: Any = trimesh.load(out / person["body"])
        assert body.geometry


@pytest.mark.slow
def test_meshes_get_the_colours_of_the_person(tmp_path: Path) -> None:
    """At first one colour per body region, blended where regions meet; later those of the picture."""
    out = tmp_path / "out"
    with receiver(out, "--no-body") as running:
        sending = ForkedProgram("sender", ["--camera", "demo", "--peer", running.address])
        try:
            first = last = 0
            while last <= 3 * first or not first:
                assert sending.poll() is None, (first, last)
                time.sleep(0.1)
                if lines := lines_of(out):
                    first, last = (count_colours(out / lines[at]["people"][0]["surface"]) for at in (0, -1))
        finally:
            sending.kill()
            sending.communicate()


def body_colours(mesh: Path) -> FloatArray:
    """(V, 3) colours of the vertices of a body, which are the same ones for everybody, 0…1."""
    colours = GlbReader(mesh.read_bytes()).mesh()[0].colours
    assert colours is not None
    return np.asarray(colours[:, :3] / np.iinfo(colours.dtype).max, np.float32)


@pytest.mark.parametrize(
    "delivery",
    [pytest.param((), id="live"), pytest.param(("--delivery", "complete"), id="complete", marks=pytest.mark.slow)],
)
def test_pictures_of_a_folder_have_the_colours_and_clothes_of_their_own_people(
    tmp_path: Path, delivery: tuple[str, ...]
) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    picture = Image.open(io.BytesIO(demo_picture(40)))
    picture.save(folder / "a.png")
    red, green, blue = picture.split()
    Image.merge("RGB", (blue, red, green)).save(folder / "b.png")
    with receiver(out) as running:
        flags = ("--camera", str(folder / "*.png"), "--peer", running.address, "--spool", str(tmp_path / "spool"))
        done = run("sender", *flags, *delivery)
        running.terminate()
    assert done.returncode == 0, done.stderr
    first, second = lines_of(out)
    colours = [body_colours(out / line["people"][0]["body"]) for line in (first, second)]
    assert [len(np.unique(each, axis=0)) > 1000 for each in colours] == [True, True], "colours of regions are few"
    # The channels are those of the other picture, in another order.
    exchanged, same = (np.abs(colours[1] - other).mean(axis=1) for other in (colours[0][:, [2, 0, 1]], colours[0]))
    assert np.median(exchanged) < min(0.08, 0.7 * np.median(same))
    wears = [line["people"][0]["wears"] for line in (first, second)]
    assert all(set(each) == set(VALUES) for each in wears) and wears[0] != wears[1]
