"""The size of the image, computed from what is installed here: no container engine is needed."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LIMIT_BYTES = 2.5e9
# python:3.11-slim-bookworm, unpacked.
BASE_BYTES = 0.13e9
# The CPU build of torch depends on none of these, and has no such files.
_ONLY_WITH_CUDA = re.compile(r"^(nvidia|cuda|triton)")
_CUDA_FILES = re.compile(r"(libtorch_cuda|libc10_cuda|libtorch_nvshmem|libcaffe2_nvrtc)")


def installed_bytes(name: str, seen: dict[str, int], extras: frozenset[str] = frozenset()) -> None:
    """Adds the sizes of a package and of everything that it needs to `seen`."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen or _ONLY_WITH_CUDA.match(key):
        return
    found = distribution(name)
    paths = [Path(str(file.locate())) for file in found.files or () if not _CUDA_FILES.search(file.name)]
    seen[key] = sum(path.stat().st_size for path in paths if path.is_file())
    for line in found.requires or ():
        needed = Requirement(line)
        wanted = [{"extra": extra} for extra in (*extras, "")]
        if needed.marker is None or any(needed.marker.evaluate(environment) for environment in wanted):
            installed_bytes(needed.name, seen, frozenset(needed.extras))


def test_image_stays_below_its_limit() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sizes: dict[str, int] = {}
    try:
        for requirement in map(Requirement, project["dependencies"]):
            installed_bytes(requirement.name, sizes, frozenset(requirement.extras))
    except PackageNotFoundError as error:
        pytest.skip(f"{error} is not installed")
    ours = sum(
        path.stat().st_size
        for package in ("common", "sender", "receiver")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "node_modules" not in path.parts
    )
    total = BASE_BYTES + ours + sum(sizes.values())
    largest = sorted(sizes.items(), key=lambda entry: -entry[1])[:8]
    assert sizes["torch"] > 100e6, "torch was not measured"
    assert total < LIMIT_BYTES, f"{total / 1e9:.2f} GB; largest: {largest}"
    print(f"{total / 1e9:.2f} GB")
