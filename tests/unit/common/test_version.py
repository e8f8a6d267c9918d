import re
from importlib.metadata import PackageNotFoundError

import pytest

from common import version
from common.version import version_line
from common.weights.manifest import model_hash


def test_version_line_names_package_weights_codec_and_protocol() -> None:
    line = version_line("sender")
    assert re.fullmatch(r"sender \S+ \(weights [0-9a-f]{16}, codec \d+, protocol \d+\)", line)
    assert model_hash().hex() in line


def test_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(version, "version", missing)
    assert version_line("sender").startswith("sender (not installed) (weights ")
