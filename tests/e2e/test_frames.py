"""A picture of a person on one side, a watertight mesh of human size on the other, and the books in order."""

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import trimesh
from PIL import Image

from common.labels import GROUP_NAMES
from receiver.mesh.glb import read_colours
from sender.capture.open import DEMO_CLIP
from tests.e2e.daemons import RunningReceiver, receiver, run

FRAMES = 4


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some frames of the clip that ships, as image files."""
    folder = tmp_path_factory.mktemp("pictures")
    with av.open(str(DEMO_CLIP)) as clip:
        for index, frame in enumerate(clip.decode(video=0)):
            if index % 40 == 0 and index // 40 < FRAMES:
                Image.fromarray(frame.to_ndarray(format="rgb24")).save(folder / f"{index:03d}.png")
    return folder


def beginning_of_the_clip(folder: Path) -> Path:
    """The clip's first two seconds, as a clip."""
    path = folder / "beginning.mp4"
    with av.open(str(DEMO_CLIP)) as clip, av.open(str(path), "w") as shorter:
        shown = clip.streams.video[0]
        written = shorter.add_stream("libx264", rate=shown.average_rate)
        written.width, written.height, written.pix_fmt = shown.width, shown.height, "yuv420p"
        for _, frame in zip(range(60), clip.decode(shown), strict=False):
            shorter.mux(written.encode(frame))
        shorter.mux(written.encode())
    return path


def colours_in(mesh: Path) -> int:
    """How many different ones."""
    colours = read_colours(mesh.read_bytes())
    assert colours is not None
    return len(np.unique(colours, axis=0))


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


def send(pictures: Path, to: RunningReceiver, *flags: str) -> None:
    done = run("sender", "--camera", str(pictures), "--peer", to.address, *flags)
    assert done.returncode == 0, done.stderr
    assert f"sent {FRAMES} frames" in done.stdout


def test_person_crosses_the_wire(tmp_path: Path, pictures: Path) -> None:
    out = tmp_path / "out"
    with receiver(out, "--metrics", "127.0.0.1:0") as running:
        send(pictures, running)
        code, errors = running.terminate()
    assert code == 0, errors
    lines = lines_of(out)
    assert [line["seq"] for line in lines] == list(range(FRAMES))
    assert [line["source"] for line in lines] == sorted(path.name for path in pictures.iterdir())
    for line in lines:
        (person,) = line["people"]
        assert len(person["keypoints_2d"]) == len(person["joints_3d"]) == 17
        assert set(line["rho"]) <= set(GROUP_NAMES)
        assert 0 < line["bytes"]["total"] <= 600
        mesh: Any = trimesh.load(out / person["surface"], force="mesh", process=True)
        assert mesh.is_watertight
        assert mesh.body_count == 1
        assert 0.5 < np.ptp(mesh.vertices, axis=0).max() < 2.6
        body: Any = trimesh.load(out / person["body"])
        assert body.geometry


def test_meshes_come_to_look_like_the_person(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with receiver(out, "--no-body") as running:
        done = run("sender", "--camera", str(beginning_of_the_clip(tmp_path)), "--peer", running.address)
        running.terminate()
    assert done.returncode == 0, done.stderr
    surfaces = [out / line["people"][0]["surface"] for line in lines_of(out)]
    first, last = (colours_in(path) for path in (surfaces[0], surfaces[-1]))
    # At first a colour a region of the body, then its own for every place that was seen.
    assert first < 30
    assert last > 200


def test_second_sender_continues_the_books(tmp_path: Path, pictures: Path) -> None:
    out = tmp_path / "out"
    with receiver(out, "--format", "ply", "--no-body") as running:
        send(pictures, running)
        send(pictures, running)
        running.terminate()
    lines = lines_of(out)
    assert [line["session"] for line in lines] == [1] * FRAMES + [2] * FRAMES
    assert all(person["surface"].endswith(".ply") and person["body"] is None for person in lines[0]["people"])
    index = json.loads((out / "index.json").read_text())
    assert [session["frames"] for session in index["sessions"]] == [FRAMES, FRAMES]


def test_metrics_tell_stages_groups_and_fates(tmp_path: Path, pictures: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with receiver(tmp_path / "out", "--metrics", f"127.0.0.1:{port}") as running:
        send(pictures, running)
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    for stage in ("codec", "decode", "diffusion", "surface", "publish"):
        assert f'bodywire_receiver_stage_seconds_count{{stage="{stage}"}} {float(FRAMES)}' in text
    assert f'bodywire_receiver_frames_total{{fate="published"}} {float(FRAMES)}' in text
    assert 'bodywire_receiver_label_bytes_total{group="root"}' in text
