"""The one error for requests that the page refuses."""

from common.errors import UsageError


class Refused(UsageError):
    """A request that is refused; `receiver.web.problems` answers it, a command prints it.

    Args:
        status: of HTTP: 4xx, or 503 if it may succeed later.
        detail: one sentence that says what to do.
        wait_s: seconds after which it may be tried again, or None.
    """

    def __init__(self, status: int, detail: str, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.wait_s = status, detail, wait_s
