"""Streams that are refused, and why."""

from enum import StrEnum

from common.wire.stream import StreamBroken


class Refusal(StrEnum):
    """Why a stream is refused, with the label of the metric."""

    SILENT = "silent"  # no Hello in time
    MALFORMED = "malformed"  # the first message is not a valid Hello
    VERSION = "version"  # another protocol, codec or model
    IDENTITY = "identity"  # no valid token
    OWNER = "owner"  # the session belongs to another sender
    FULL = "full"  # no room for another session or handshake
    BUSY = "busy"  # no computing time for another live session
    ELSEWHERE = "elsewhere"  # a stream of another receiver uses the session


_CODES = {
    Refusal.SILENT: "DEADLINE_EXCEEDED",
    Refusal.MALFORMED: "INVALID_ARGUMENT",
    Refusal.VERSION: "FAILED_PRECONDITION",
    Refusal.IDENTITY: "UNAUTHENTICATED",
    Refusal.OWNER: "PERMISSION_DENIED",
    Refusal.FULL: "RESOURCE_EXHAUSTED",
    Refusal.BUSY: "RESOURCE_EXHAUSTED",
    Refusal.ELSEWHERE: "RESOURCE_EXHAUSTED",
}


class StreamRefused(StreamBroken):
    """A stream is refused before its session is used, with a reason for the sender and a detail for the log."""

    def __init__(self, refusal: Refusal, reason: str, detail: str = "") -> None:
        super().__init__(_CODES[refusal], reason)
        self.refusal = refusal
        self.detail = detail
