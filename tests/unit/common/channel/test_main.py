"""The command line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

import common.channel.__main__ as command
from common.channel.diffusion import INVENTED
from common.channel.signal import Signal
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


def test_transmit_prints_its_account_and_quality(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["transmit", str(photo), "--rate", "1/8", "--out", str(photo.with_name("out.png"))]) == 0
    printed = capsys.readouterr().out
    assert "60×40 pixels" in printed and "bandwidth ratio 1/9." in printed and "PSNR" in printed
    assert read_picture(photo.with_name("out.png")).shape == (40, 60, 3)


def test_encode_and_decode_give_what_transmit_gives(photo: Path) -> None:
    signal, parts, whole = (photo.with_name(name) for name in ("signal.npz", "parts.png", "whole.png"))
    settings = ["--snr", "6", "--seed", "5"]
    assert command.main(["encode", str(photo), *settings, "--out", str(signal)]) == 0
    assert command.main(["decode", str(signal), "--seed", "5", "--out", str(parts)]) == 0
    assert command.main(["transmit", str(photo), *settings, "--out", str(whole)]) == 0
    assert np.array_equal(read_picture(parts), read_picture(whole))


def test_refined_signal_is_another_one_of_the_same_size(photo: Path) -> None:
    plain, refined = photo.with_name("plain.npz"), photo.with_name("refined.npz")
    assert command.main(["encode", str(photo), "--out", str(plain)]) == 0
    assert command.main(["encode", str(photo), "--refine", "2", "--out", str(refined)]) == 0
    signals = [Signal.read(path) for path in (plain, refined)]
    assert len(signals[0].symbols) == len(signals[1].symbols)
    assert not np.array_equal(signals[0].symbols.numpy(), signals[1].symbols.numpy())


def test_auto_is_one_step_of_diffusion(photo: Path) -> None:
    found = []
    for flags in (["auto"], ["diffusion", "--steps", "1"], ["diffusion", "--steps", "2"], ["plain"]):
        out = photo.with_name("out.png")
        assert command.main(["transmit", str(photo), "--decoder", *flags, "--out", str(out)]) == 0
        found.append((read_picture(out), comment_of(out)))
    (auto, comment), (one, _), (two, _), (plain, none) = found
    assert np.array_equal(auto, one) and not np.array_equal(auto, two) and not np.array_equal(auto, plain)
    assert comment == INVENTED and none is None


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_diffusion_decoder_marks_what_it_invents(photo: Path, suffix: str) -> None:
    plain, completed = photo.with_name(f"plain{suffix}"), photo.with_name(f"completed{suffix}")
    assert command.main(["transmit", str(photo), "--out", str(plain)]) == 0
    flags = ["--decoder", "diffusion", "--steps", "2"]
    assert command.main(["transmit", str(photo), *flags, "--out", str(completed)]) == 0
    assert not np.array_equal(read_picture(plain), read_picture(completed))
    assert comment_of(plain) is None
    assert comment_of(completed) == INVENTED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transmit", "none.png"], "none.png: no such file"),
        (["encode", "{photo}"], "encode needs --out FILE"),
        (["decode", "{photo}", "--out", "x.png"], "not a signal that `encode` wrote"),
        (["transmit", __file__], "cannot be read as a picture"),
        (["transmit", "{photo}", "--snr", "500"], "the SNR has to be between"),
        (["transmit", "{photo}", "--rate", "0"], "no bandwidth ratio; give one such as 1/16"),
        (["transmit", "{photo}", "--rate", "1/900"], "is too low for this picture"),
        (["transmit", "{photo}", "--channel", "wire"], "invalid choice"),
        (["transmit", "{photo}", "--quality", "0"], "no PSNR; give one above 0"),
        (["transmit", "{photo}", "--refine", "-3"], "no number of steps; give one of 0 to 10000"),
        (["transmit", "{photo}", "--loss", "1.5", "--channel", "erasure"], "the loss has to be"),
    ],
)
def test_error_is_one_line(photo: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([argument.format(photo=photo) for argument in arguments]) in (2, 3)
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
