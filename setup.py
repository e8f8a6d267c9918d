"""Generates the wire stubs from `proto/` during the build; all other settings are in `pyproject.toml`."""

from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build
from setuptools.errors import ExecError, FileError

PROTO_ROOT = Path("proto")


class BuildWire(Command):
    """Compiles `proto/**/*.proto` into the wheel, or beside the sources (ignored by git) for an editable install.

    A sub-command of `build` and not a `build_py` subclass, because setuptools turns an error in a customised `build_py`
    of an editable install into a warning.
    """

    description = "generate protobuf and gRPC stubs"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

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

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def _stubs(self) -> list[str]:
        stems = [str(Path(path).relative_to(PROTO_ROOT).with_suffix("")) for path in self.get_source_files()]
        return [stem + ending for stem in stems for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")]


# After build_py, so that stubs left beside the sources by an editable install never reach a wheel.
build.sub_commands = [*build.sub_commands, ("build_wire", None)]

setup(cmdclass={"build_wire": BuildWire})
