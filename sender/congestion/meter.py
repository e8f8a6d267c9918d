"""Holds everything that a link carries below a rate, in both directions, as `--budget-kbit` asks.

Frames leave evenly spaced: whatever else leaves or arrives delays the next ones a little, so that with a smaller budget
fewer of them leave, each as precise as before.  Blobs and packet trains have a share of the budget.
"""

import math

from sender.congestion.byte_budget import ByteBudget

# Of the budget: the rest is for what is counted late, such as pure acknowledgements of TCP.
USED_SHARE = 0.96
# Share that blobs may use over this time; a chunk is not tiny.
_BLOB_SHARE, _BLOB_WINDOW_MS = 0.25, 2000.0
# What was left lately makes up for what comes at once.
_CREDIT_MS = 80.0
# What comes between messages of labels, such as the acknowledgement of several: each of the next ones pays a share of
# it, but for what is more than a heartbeat with its echo.
_OWED_SHARE, _MOST_OWED_BYTES = 0.2, 150.0
# A live frame that has waited gives way to one that is captured so soon: the same bytes then show a fresher one.
_FRESHER_MS = 40.0
# The longest pause after more bytes than the budget has, such as those of a handshake.
_MOST_PAUSE_MS = 1000.0
# Of a chunk besides its data: headers and the answer; and the least data that is worth them.
_CHUNK_BYTES, _LEAST_DATA_BYTES = 190, 60


class Meter:
    """Decides when a frame may leave, and how many bytes of blobs; times are milliseconds of one monotonic clock.

    Args:
        budget_bps: bits per second on average over a second, to within a frame, headers of TCP and IP included;
            infinite for no limit.
    """

    def __init__(self, budget_bps: float = math.inf) -> None:
        self._limits = math.isfinite(budget_bps)
        self._used_bps = USED_SHARE * budget_bps
        self._blobs = ByteBudget(_BLOB_SHARE * budget_bps, _BLOB_WINDOW_MS)
        self._free_ms = -math.inf
        self._since_ms = math.inf
        self._owed_bytes = 0.0
        self._lets_frame_go = False

    def connecting(self, now_ms: float) -> None:
        """Records that a connection is sought: what it takes is counted afterwards, and has had the time since."""
        self._since_ms = now_ms

    def let_frame_go(self) -> None:
        """Lets the next frame leave at once; the one after it waits the longer."""
        self._lets_frame_go = True

    def spend(self, wire_bytes: float, now_ms: float, *, labels: bool = True) -> None:
        """Records bytes on the link, in either direction; below 0 if it were fewer than recorded.

        Args:
            labels: they are a message of labels; others delay not only the next one.
        """
        if self._limits:
            self._lets_frame_go &= not labels
            owed_bytes = self._owed_bytes if labels else self._owed_bytes + wire_bytes
            left_bytes = (1 - _OWED_SHARE) * owed_bytes if labels else owed_bytes
            self._owed_bytes = max(min(left_bytes, _MOST_OWED_BYTES), -_MOST_OWED_BYTES)
            wire_bytes = owed_bytes - self._owed_bytes + (wire_bytes if labels else 0.0)
            since_ms = now_ms - _CREDIT_MS
            if not labels:
                since_ms, self._since_ms = min(since_ms, self._since_ms), math.inf
            free_ms = max(self._free_ms, since_ms) + 8e3 * wire_bytes / self._used_bps
            self._free_ms = min(free_ms, now_ms + _MOST_PAUSE_MS)

    def blob_sent(self, data_bytes: float, now_ms: float) -> None:
        """Records a part of a blob, or a message of a packet train, besides `spend`."""
        if self._limits:
            self._blobs.spend(data_bytes + _CHUNK_BYTES, now_ms)

    def frame_wait_ms(self, now_ms: float, offered_ms: float = math.inf) -> float:
        """Time until the next frame may leave (`offered_ms`: since when the newest one waits, of a live source)."""
        if self._lets_frame_go:
            return 0.0
        gives_way_ms = _FRESHER_MS if offered_ms < self._free_ms else 0.0
        return max(self._free_ms + gives_way_ms - now_ms, 0.0)

    def part_bytes(self, most: int) -> int:
        """Bytes of the largest part, up to `most`, of something that has to leave before a frame: half a pause."""
        allowed = self._used_bps * _MOST_PAUSE_MS / 16e3 - _CHUNK_BYTES
        return most if allowed >= most else max(int(allowed), _LEAST_DATA_BYTES)

    def blob_bytes(self, now_ms: float) -> float:
        """Bytes of data of blobs that may leave now, behind a frame."""
        data_bytes = self._blobs.left(now_ms) - _CHUNK_BYTES
        return data_bytes if data_bytes >= _LEAST_DATA_BYTES else 0.0
