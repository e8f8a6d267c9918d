"""The command line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

import common.channel.__main__ as command
from common.channel.diffusion import INVENTED
from common.imaging.picture_file import read_picture, write_picture
from tests.support.tiny_diffusion_decoder import tiny_decoder
from tests.support.tiny_image_channel import tiny_network


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "load_network", tiny_network)
    monkeypatch.setattr(command, "load_decoder", tiny_decoder)
    path = tmp_path / "photo.png"
    write_picture(path, np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    return path


def comment_of(path: Path) -> str | None:
    """In the metadata of a PNG or JPEG file."""
    with Pictures.open(path) as picture:
        comment = picture.info.get("Comment", picture.info.get("comment"))
    return comment.decode() if isinstance(comment, bytes) else comment


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_account_and_quality_are_printed_and_invented_detail_is_marked(
    photo: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, completed = photo.with_name(f"plain{suffix}"), photo.with_name(f"completed{suffix}")
    assert command.main([str(photo), "--rate", "1/8", "--out", str(plain)]) == 0
    printed = capsys.readouterr().out
    assert "60×40 pixels" in printed and "bandwidth ratio 1/9." in printed and "PSNR" in printed
    assert command.main([str(photo), "--rate", "1/8", "--decoder", "diffusion", "--out", str(completed)]) == 0
    assert read_picture(plain).shape == (40, 60, 3)
    assert not np.array_equal(read_picture(plain), read_picture(completed))
    assert comment_of(plain) is None and comment_of(completed) == INVENTED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png"], "none.png: no such file"),
        ([__file__], "cannot be read as a picture"),
        (["{photo}", "--snr", "500"], "the SNR has to be between"),
        (["{photo}", "--rate", "0"], "no bandwidth ratio; give one such as 1/16"),
        (["{photo}", "--rate", "1/900"], "is too low for this picture"),
        (["{photo}", "--channel", "wire"], "invalid choice"),
    ],
)
def test_error_is_one_line(photo: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([argument.format(photo=photo) for argument in arguments]) in (2, 3)
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
