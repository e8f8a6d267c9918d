"""`bodywire`: pictures and sources to meshes, in this process and in processes that are forked."""

import asyncio
import itertools
import math
import multiprocessing
import re
import shutil
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trimesh.visual import ColorVisuals

from bodywire import BodywireError, ForkError, People, SourceError, reconstruct, stream
from common.body.anatomy import FACIAL_ACTIONS
from common.frames import Camera
from receiver.mesh.mesh_files import to_y_up
from sender.capture.images import read_image
from sender.capture.open import DEMO_PHOTOGRAPHS
from tests.support.meshes.glb_reader import Glb

ROOT = Path(__file__).parents[3]
PHOTOGRAPH = DEMO_PHOTOGRAPHS / "000000042102.jpg"

_IMPORTED_ONLY = """
import os, sys
import bodywire
from bodywire import loading
assert not {"torch", "openvino"} & set(sys.modules), "a forked process would inherit their threads"

def code_in_fork():
    child = os.fork()
    if child == 0:
        try:
            loading.begin()
        except bodywire.ForkError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

print(code_in_fork())
loading.begin()
print(code_in_fork())
"""

# What does not come along into a fork: threads of OpenVINO, of FFmpeg's decoders and scalers, and of the engine.
_EXITS = """
import os, sys
import numpy, torch
from bodywire import loading, stream
from common.weights.landmark_networks import load_network

class Engine:
    def session(self, *_, **__):
        return self

    def people(self, frames, **_):
        return (frame.sequence for frame in frames)

    def close(self):
        os.write(1, b"parent closes" if os.getpid() == parent else b"child closes")

parent, loading._load = os.getpid(), Engine
network, frames = load_network("face_landmark_with_attention"), stream("demo")
if network is not None:
    network(torch.zeros(1, 192, 192, 3))
next(frames), next(frames)
if os.fork() == 0:
    sys.exit()
os.wait()
assert next(frames) == 2
"""


@pytest.fixture(scope="module")
def people() -> People:
    return reconstruct(PHOTOGRAPH)


def pixels_of(people: People) -> np.ndarray:
    """(17, 2) where the first person's joints are in the picture."""
    return people.camera.project(to_y_up(people[0].joints_3d))


def test_photograph_becomes_meshes(people: People) -> None:
    (person,) = people
    assert (people.source, people.time_s) == (PHOTOGRAPH.name, 0.0)
    assert person.surface.is_watertight and person.surface.body_count == 1
    assert person.body.vertices.shape[1] == 3 and 0.4 < person.score <= 1
    # All in one space, metres: the person stands before the camera, head up, and joints are inside of the mesh.
    low, high = person.surface.bounds
    assert high[2] < 0 and person.joints_3d[0, 1] > person.joints_3d[15, 1]
    assert ((person.joints_3d > low - 0.1) & (person.joints_3d < high + 0.1)).all()
    assert 1.0 < person.height_m < 2.2 and person.height_sigma_m > 0
    np.testing.assert_allclose(pixels_of(people), person.keypoints_2d[:, :2], atol=0.1)


def test_photograph_has_colours_kinds_and_face(people: People) -> None:
    (person,) = people
    visual = person.surface.visual
    assert isinstance(visual, ColorVisuals) and len(np.unique(visual.vertex_colors, axis=0)) > 100
    # He wears a suit.
    assert person.kinds["sleeve"][0] == "long" and person.kinds["bottom"][0] == "trousers"
    assert person.face is not None and tuple(person.face) == FACIAL_ACTIONS


def test_meshes_are_exported_as_they_are(people: People, tmp_path: Path) -> None:
    body = Glb(people[0].body_glb()).document
    assert len(body["skins"]) == 1 and len(body["images"]) == 1
    path = tmp_path / "person.glb"
    people[0].surface.export(path)
    assert path.stat().st_size > 100_000


def test_call_within_an_event_loop_as_in_a_notebook(people: People) -> None:
    async def cell() -> People:
        return reconstruct(str(PHOTOGRAPH))

    assert len(asyncio.run(cell())) == len(people)


def test_content_of_a_picture_is_as_good_as_its_path_in_threads_at_once(people: People) -> None:
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(reconstruct, (PHOTOGRAPH.read_bytes(), read_image(PHOTOGRAPH).image)))
    for (person,) in found:
        np.testing.assert_allclose(person.joints_3d, people[0].joints_3d, atol=1e-3)


def test_people_are_shown_in_a_line(people: People) -> None:
    assert repr(people) == "<People: 1 in 000000042102.jpg, 0.000 s>"
    (person,) = people
    assert re.fullmatch(r"<Person 0: score [01]\.\d\d, 1\.\d\d ± 0\.\d\d m(, unseen: [a-z_ ,]+)?>", repr(person))
    unknown = replace(person, unseen_limbs=frozenset({"left_leg", "right_leg"}), height_m=math.nan)
    assert repr(unknown) == f"<Person 0: score {person.score:.2f}, unseen: left_leg, right_leg>"


def test_focal_length_is_used() -> None:
    people = reconstruct(PHOTOGRAPH, focal_px=2000.0)
    assert people.camera == Camera(246, 640, 2000.0)
    np.testing.assert_allclose(pixels_of(people), people[0].keypoints_2d[:, :2], atol=0.1)


def test_picture_of_nobody() -> None:
    people = reconstruct(np.full((120, 160, 3), 200, np.uint8))
    assert list(people) == [] and len(people) == 0 and (people.camera.width, people.camera.height) == (160, 120)


def test_pictures_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read .*missing\.jpg: No such file"):
        reconstruct(tmp_path / "missing.jpg")
    with pytest.raises(SourceError, match=r"https://example\.org/a\.jpg: .*: download the file"):
        reconstruct("https://example.org/a.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(BodywireError, match=r"text\.jpg is not an image"):
        reconstruct(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match="max-people"):
        reconstruct(PHOTOGRAPH, max_people=0)


def test_clip_becomes_a_stream() -> None:
    frames = list(itertools.islice(stream("demo"), 4))
    assert [round(30 * people.time_s) for people in frames] == [0, 1, 2, 3]
    (first,), (last,) = frames[0], frames[-1]
    assert first.identity == last.identity and last.surface.is_watertight
    assert np.array_equal(first.body.faces, last.body.faces)
    moved = np.linalg.norm(last.joints_3d - first.joints_3d, axis=1)
    assert 0 < moved.max() < 0.3


def test_lines_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## In Python")[1].split("##")[0]
    code = textwrap.dedent("\n".join(line for line in section.splitlines() if line.startswith("    ")))
    shutil.copy(PHOTOGRAPH, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    assert "stream(0)" in code
    exec(code.replace("stream(0)", "stream('photo.jpg')"), {})
    assert (tmp_path / "0.obj").is_file() and "'sleeve': ('long'" in capsys.readouterr().out


def test_source_that_is_missing() -> None:
    with pytest.raises(SourceError, match=r"nothing\.mp4 does not exist"):
        next(stream("nothing.mp4"))


@pytest.mark.parametrize("camera", [None, 1.5, b"photo.jpg", ["photo.jpg"]])
def test_what_is_no_source(camera: object) -> None:
    with pytest.raises(TypeError, match="a source is the number of a camera, a path or an address, not"):
        next(stream(camera))  # type: ignore[arg-type]


def printed(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


_GENERATORS = f"""
import os, random
import numpy as np
random.seed(1), np.random.seed(1)
before, verbosity = random.getstate(), os.environ.pop("GRPC_VERBOSITY", None)
from bodywire import reconstruct
import torch
torch.manual_seed(1)
drawn = torch.get_rng_state()
reconstruct({str(PHOTOGRAPH)!r}, max_people=1)
print(random.getstate() == before, torch.equal(torch.get_rng_state(), drawn), np.random.get_state()[2])
print("GRPC_VERBOSITY" in os.environ)
"""


def test_generators_and_environment_of_the_program_stay_as_they_were() -> None:
    assert printed(_GENERATORS).split() == ["True", "True", "624", "False"]


def in_fork(work: Callable[[], object]) -> object:
    """What `work` returns or raises in a forked process of this one, which uses the networks."""
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        try:
            theirs.send(work())
        except Exception as error:
            theirs.send(error)

    process = multiprocessing.get_context("fork").Process(target=child)
    with warnings.catch_warnings(action="ignore"):  # that this process has threads
        process.start()
    try:
        assert ours.poll(60), "it hangs"
        return ours.recv()
    finally:
        process.kill()
        process.join()


def test_program_that_only_imports_may_fork() -> None:
    assert printed(_IMPORTED_ONLY).split() == ["0", "1"]


@pytest.mark.slow
def test_forked_process_ends_without_the_threads_of_its_parent() -> None:
    assert printed(_EXITS) == "parent closes"


def test_process_that_is_forked_too_late_is_told_to_spawn(people: People) -> None:
    begun = stream("demo")
    next(begun)
    calls: tuple[Callable[[], object], ...] = (
        lambda: reconstruct(PHOTOGRAPH),
        lambda: next(stream("demo")),
        lambda: next(begun),
    )
    for call in calls:
        error = in_fork(call)
        assert isinstance(error, ForkError) and 'get_context("spawn")' in str(error)
    # The parent goes on after forks.
    assert len(next(begun)) == 1


def test_people_of_the_parent_have_meshes_in_a_forked_process(people: People) -> None:
    def sizes() -> tuple[int, ...]:
        (person,) = people
        return len(person.surface.vertices), len(person.body.vertices), len(person.body_glb())

    assert in_fork(sizes) == sizes()
