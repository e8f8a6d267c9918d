from pathlib import Path

import pytest

from common.body import bake
from common.body.bake import load_arrays
from common.errors import OutputError


def test_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a directory")
    monkeypatch.setenv("BODYWIRE_CACHE", str(in_the_way / "cache"))
    monkeypatch.setattr(bake, "bake", lambda space: {})
    with pytest.raises(OutputError, match=f"cannot write the body model's cache {in_the_way}.*HOME"):
        load_arrays()
