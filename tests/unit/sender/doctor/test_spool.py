from contextlib import closing
from pathlib import Path

from common.doctor.finding import Finding, Verdict, run_check
from sender.doctor.spool import check_spool
from sender.spool.config import DeliveryConfig
from sender.spool.spool import Spool, spool_content

MODEL = b"\x01" * 8


def check(folder: Path, camera: str = "/dev/video0") -> list[Finding]:
    return list(run_check("spool", lambda: check_spool(DeliveryConfig("complete", folder), camera, MODEL)))


def test_no_spool_without_complete_delivery(tmp_path: Path) -> None:
    assert check_spool(DeliveryConfig(spool=tmp_path), "0", MODEL) == []


def test_missing_spool_is_not_made(tmp_path: Path) -> None:
    (finding,) = check(tmp_path / "spool")
    assert finding.verdict is Verdict.OK
    assert not (tmp_path / "spool").exists()


def test_spool_in_use_and_afterwards(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, spool_content("/dev/video0", MODEL), 1e6)):
        (finding,) = check(tmp_path)
        assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 2)
    before = (tmp_path / "000000000000.bw").read_bytes()
    assert [finding.verdict for finding in check(tmp_path)] == [Verdict.OK, Verdict.OK]
    (finding,) = check(tmp_path, "/dev/video1")
    assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 2)
    assert "contains frames of /dev/video0" in finding.found
    assert (tmp_path / "000000000000.bw").read_bytes() == before
