"""Why an upload is refused, and how metrics name its end."""

import asyncio

from receiver.web.metrics import UploadOutcome


class UploadRefused(Exception):
    """An upload that is not accepted.

    Args:
        status: of HTTP: 4xx, or 503 if it may succeed later.
        detail: one sentence that says what to do.
        wait_s: seconds after which it may be tried again, or None.
    """

    def __init__(self, status: int, detail: str, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.wait_s = status, detail, wait_s

    @property
    def outcome(self) -> UploadOutcome:
        """How metrics name it."""
        if self.status >= 500:
            return UploadOutcome.UNAVAILABLE
        return UploadOutcome.LIMITED if self.status == 429 else UploadOutcome.REFUSED


def outcome_of(error: BaseException | None) -> UploadOutcome:
    """How metrics name the end of a job."""
    if error is None:
        return UploadOutcome.STORED
    if isinstance(error, asyncio.CancelledError):
        return UploadOutcome.CANCELLED
    return error.outcome if isinstance(error, UploadRefused) else UploadOutcome.FAILED
