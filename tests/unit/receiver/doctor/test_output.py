from pathlib import Path

import pytest

from common.doctor.finding import Verdict
from receiver.doctor import output
from receiver.publish.config import PublishConfig
from receiver.publish.session_directory import SessionDirectory


def test_directory_that_another_receiver_uses(tmp_path: Path) -> None:
    config = PublishConfig(tmp_path / "out")
    assert output.check_output(config).verdict is Verdict.OK
    assert not config.out.exists()
    with SessionDirectory(config):
        used = output.check_output(config)
        assert (used.verdict, used.exit_code) == (Verdict.PROBLEM, 5)
        assert "another receiver writes into" in used.found
    assert output.check_output(config).verdict is Verdict.OK


def test_meshes_in_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "meshes").touch()
    assert output.check_output(PublishConfig(tmp_path)).verdict is Verdict.PROBLEM


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PublishConfig(), 1_202_500),
        (PublishConfig(body=False), 302_500),
        (PublishConfig(mesh_every=30), 42_500),
        (PublishConfig(format="ply"), 872_500),
    ],
)
def test_size_of_a_frame(config: PublishConfig, expected: float) -> None:
    assert output.frame_bytes(config) == pytest.approx(expected)


def test_disk_lasts(tmp_path: Path) -> None:
    config = PublishConfig(tmp_path / "not" / "yet")
    assert output.check_disk(config).found != ""
    full = output.check_disk(config, 1_000_000_000)
    assert (full.verdict, full.exit_code) == (Verdict.WARNING, 0)
    assert "59 seconds" in full.found
    large = output.check_disk(config, 5 * 10**12)
    assert large.verdict is Verdict.OK
    assert "3 days" in large.found or "83 hours" in large.found
