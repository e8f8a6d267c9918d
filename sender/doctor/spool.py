"""Checks of the spool of complete delivery; it is not opened, because that would begin a session."""

from common.doctor.finding import Finding, ok, problem
from common.doctor.storage import check_writable, is_locked
from common.errors import UsageError
from sender.spool.config import DeliveryConfig
from sender.spool.spool import LOCK_FILE, check_spool_content, spool_content


def check_spool(config: DeliveryConfig, camera: str, model_hash: bytes) -> Finding | list[Finding]:
    """Whether undelivered frames can be kept, and those that wait are of this source; raises UsageError."""
    if config.delivery != "complete":
        return []
    folder = config.spool
    lock = folder / LOCK_FILE
    if lock.exists() and is_locked(lock):
        return problem("spool", f"another sender uses {folder}", "give another --spool", UsageError)
    findings = [check_writable("spool", folder, "--spool")]
    if folder.is_dir() and check_spool_content(folder, spool_content(camera, model_hash)):
        findings.append(ok("spool", "frames of an earlier run of this source may wait in it, and will be sent first"))
    return findings
