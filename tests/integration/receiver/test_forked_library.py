"""`bodywire` in processes that are forked."""

import multiprocessing
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

from bodywire import ForkError, People, reconstruct, stream
from sender.capture.open import DEMO_PHOTOGRAPHS

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


def printed(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


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


@pytest.fixture(scope="module")
def people() -> People:
    return reconstruct(PHOTOGRAPH)


@pytest.fixture
def begun() -> Iterator[Iterator[People]]:
    frames = stream("demo")
    next(frames)
    yield frames
    # The parent goes on after forks.
    assert len(next(frames)) == 1


def test_program_that_only_imports_may_fork() -> None:
    assert printed(_IMPORTED_ONLY).split() == ["0", "1"]


def test_forked_process_ends_without_the_threads_of_its_parent() -> None:
    assert printed(_EXITS) == "parent closes"


@pytest.mark.parametrize("how", ["reconstruct", "stream", "stream that the parent began"])
def test_process_that_is_forked_too_late_is_told_to_spawn(how: str, people: People, begun: Iterator[People]) -> None:
    calls: dict[str, Callable[[], object]] = {
        "reconstruct": lambda: reconstruct(PHOTOGRAPH),
        "stream": lambda: next(stream("demo")),
        "stream that the parent began": lambda: next(begun),
    }
    error = in_fork(calls[how])
    assert isinstance(error, ForkError) and 'get_context("spawn")' in str(error)


def test_people_of_the_parent_have_meshes_in_a_forked_process(people: People) -> None:
    def sizes() -> tuple[int, ...]:
        (person,) = people
        return len(person.surface.vertices), len(person.body.vertices), len(person.body_glb())

    assert in_fork(sizes) == sizes()
