"""From images at the sender to watertight meshes of human size and frame records at the receiver, encrypted."""

import io
import json
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from common.arrays import FloatArray
from common.codec.frame_codec import FrameCodec
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.labels import GROUP_NAMES, LABEL_SIZE, split
from common.wear_kinds import VALUES
from common.weights.manifest import model_hash
from common.wire.convert import Acknowledgements, Drain, FrameMessage
from receiver.mesh.body_file import read_mesh
from sender.link.diagnosis import SecurityConfig
from sender.link.transport import Transport
from tests.e2e.daemons import TIMEOUT_S, RunningReceiver, Secured, receiver, run
from tests.support.link.scripted_sender import ScriptedSender
from tests.support.processes.demo_clip import demo_picture
from tests.support.processes.free_port import free_port

HIPS_PX = 310


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A frame of the demo clip, and the same with exchanged colours."""
    folder = tmp_path_factory.mktemp("coloured")
    picture = Image.open(io.BytesIO(demo_picture(40)))
    red, green, blue = picture.split()
    picture.save(folder / "c.png")
    Image.merge("RGB", (blue, red, green)).save(folder / "d.png")
    return [folder / "c.png", folder / "d.png"]


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


def vertex_colours(mesh: Path) -> FloatArray:
    """(V, 3) colours of the vertices, 0…1."""
    colours = read_mesh(mesh).colours
    assert colours is not None
    return np.asarray(colours[:, :3] / np.iinfo(colours.dtype).max, np.float32)


def check_colours_and_clothes(out: Path, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Those of the pictures `coloured` are of their own people. Bodies have the same vertices for everybody."""
    colours = [vertex_colours(out / line["people"][0]["body"]) for line in (first, second)]
    assert [len(np.unique(each, axis=0)) > 1000 for each in colours] == [True, True], "colours of regions are few"
    # The channels are those of the other picture, in another order.
    exchanged, same = (np.abs(colours[1] - other).mean(axis=1) for other in (colours[0][:, [2, 0, 1]], colours[0]))
    assert np.median(exchanged) < min(0.08, 0.7 * np.median(same))
    wears = [line["people"][0]["wears"] for line in (first, second)]
    assert all(set(each) == set(VALUES) for each in wears) and wears[0] != wears[1]


@dataclass(frozen=True, slots=True)
class Serving:
    """A receiver with certificates, tokens and metrics."""

    running: RunningReceiver
    out: Path
    metrics: str
    secured: Secured

    @property
    def sender(self) -> tuple[str, ...]:
        """Flags of a sender to it, but for the token."""
        return "--peer", self.running.address, *self.secured.sender


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder, metrics = tmp_path_factory.mktemp("serving"), f"127.0.0.1:{free_port()}"
    secured = Secured.in_folder(folder)
    with receiver(folder / "out", "--metrics", metrics, *secured.receiver) as running:
        yield Serving(running, folder / "out", metrics, secured)


def test_images_become_watertight_meshes_and_metrics(tmp_path: Path, serving: Serving, coloured: list[Path]) -> None:
    images, out = tmp_path / "images", serving.out
    images.mkdir()
    for name, frame, shown in (("a.png", 0, slice(None)), ("b.png", 40, slice(HIPS_PX))):
        Image.fromarray(np.asarray(Image.open(io.BytesIO(demo_picture(frame))))[shown]).save(images / name)
    for path in coloured:
        shutil.copy(path, images)
    frames = len(sources := sorted(path.name for path in images.iterdir()))
    (images / "empty.png").touch()
    Image.new("1", (70_000, 1)).save(images / "wide.png")
    done = run("sender", "--camera", str(images), *serving.sender, *serving.secured.token)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"sent {frames} frames")
    assert json.loads(done.stderr.splitlines()[-1])["message"] == f"skipped 2 of {frames + 2} images"
    metrics = urllib.request.urlopen(f"http://{serving.metrics}/metrics", timeout=10).read().decode()
    for stage in ("codec", "decode", "diffusion", "surface", "publish"):
        assert f'bodywire_receiver_stage_seconds_count{{stage="{stage}"}} {float(frames)}' in metrics
    assert f'bodywire_receiver_frames_total{{fate="published"}} {float(frames)}' in metrics
    assert 'bodywire_receiver_label_bytes_total{group="root"}' in metrics
    lines = lines_of(out)
    assert [(line["seq"], line["source"]) for line in lines] == list(enumerate(sources))
    for line, legs_seen in zip(lines, (True, False, True, True), strict=True):
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
    check_colours_and_clothes(out, *lines[-2:])


def test_sender_without_a_token_is_refused(serving: Serving, coloured: list[Path]) -> None:
    refused = run("sender", "--camera", str(coloured[0]), *serving.sender)
    assert refused.returncode == 4
    assert "give --token-file" in refused.stderr


async def test_sigterm_finishes_arrived_frames_and_sends_drain(serving: Serving) -> None:
    """The last test: it ends the receiver, which refuses new senders then."""
    codec = FrameCodec(model_hash())
    person = PersonLabels(0, 0.9, split(np.zeros(LABEL_SIZE, np.float32)))
    flags = (*serving.secured.sender, *serving.secured.token)
    files: dict[str, Any] = {
        flag[2:].replace("-", "_"): Path(path) for flag, path in zip(flags[::2], flags[1::2], strict=True)
    }
    transport = Transport(SecurityConfig(**files))
    async with ScriptedSender(await transport.reach(Address.parse(serving.running.address))) as sender:
        assert (await sender.hello(model=model_hash())).accepted
        for sequence in range(3):
            encoded = codec.encode(LabelFrame(sequence, "draining", 1.8e9, Camera(640, 480, 600.0), (person,)), {})
            await sender.write(FrameMessage(sequence, encoded.payload))
        answers = [await sender.receive()]
        # The other frames have arrived or are in flight; one of them is being reconstructed.
        serving.running.process.send_signal(signal.SIGTERM)
        while not isinstance(answers[-1], Drain):
            answers.append(await sender.receive())
        assert await sender.end.read() is None
    _, errors = serving.running.process.communicate(timeout=TIMEOUT_S)  # a second signal might end it with -15
    assert serving.running.process.returncode == 0 and "Traceback" not in errors, errors
    acknowledged = [ack.sequence for each in answers if isinstance(each, Acknowledgements) for ack in each.frames]
    assert acknowledged == list(range(len(acknowledged)))
    drained = [line["seq"] for line in lines_of(serving.out) if line["source"] == "draining"]
    assert drained == acknowledged


@pytest.mark.slow
def test_pictures_of_a_folder_keep_their_colours_if_all_are_delivered(tmp_path: Path, coloured: list[Path]) -> None:
    out = tmp_path / "out"
    with receiver(out) as running:
        flags = ("--camera", str(coloured[0].with_name("*.png")), "--peer", running.address)
        done = run("sender", *flags, "--delivery", "complete", "--spool", str(tmp_path / "spool"))
        running.terminate()
    assert done.returncode == 0, done.stderr
    check_colours_and_clothes(out, *lines_of(out))
