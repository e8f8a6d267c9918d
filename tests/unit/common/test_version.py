import re

from common.version import version_line
from common.weights.manifest import model_hash


def test_version_line_names_package_weights_codec_and_protocol() -> None:
    line = version_line("sender")
    assert re.fullmatch(r"sender \S+ \(weights [0-9a-f]{16}, codec \d+, protocol \d+\)", line)
    assert model_hash().hex() in line
