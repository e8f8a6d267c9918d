"""Masks like those that the frequencies were counted in are short."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from common.errors import SourceError
from common.texture.mask_codec import CONTEXTS, MaskCodec
from common.training.fit_mask_frequencies import fit, parse, read_masks


def test_masks_like_those_of_the_fit_are_short(tmp_path: Path) -> None:
    row, column = np.mgrid[:512, :512]
    known = np.hypot(row - 256, column - 256) < 200
    Pictures.fromarray(np.dstack([np.zeros((512, 512, 3)), 255 * known]).astype(np.uint8)).save(tmp_path / "0.png")
    fit(parse(["--atlases", str(tmp_path), "--out", str(tmp_path / "fitted.npz")]))
    with np.load(tmp_path / "fitted.npz") as arrays:
        ones = arrays["known"].astype(np.int64)
    assert ones.shape == (CONTEXTS,)
    mask = np.ascontiguousarray(known[:128, 128:256])
    assert len(MaskCodec(ones).encode(mask)) < 60


@pytest.mark.parametrize("picture", [None, Pictures.new("RGBA", (64, 64)), Pictures.new("RGB", (512, 512))])
def test_folder_without_atlases_is_refused(tmp_path: Path, picture: Pictures.Image | None) -> None:
    if picture is not None:
        picture.save(tmp_path / "0.png")
    with pytest.raises(SourceError, match=r"atlas|alpha"):
        read_masks(tmp_path)
