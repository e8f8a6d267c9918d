"""What a link can carry over time, from recorded traces; three formats.

Mahimahi    a line a packet: the millisecond at which 1,500 bytes may leave
alphartc    JSON: chunks of `duration` ms with `capacity` kbit/s
norway3g    a line a measurement: seconds, Mbit/s
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from common.arrays import Float64Array

_PACKET_BYTES = 1500
_BIN_S = 0.1
# So little still moves time on: a link of exactly nothing would never deliver.
_LEAST_BYTES_PER_S = 1.0


@dataclass(frozen=True, eq=False)
class Trace:
    """Capacity as a piecewise constant rate; after its end it begins again.

    Args:
        ends_s: (N,) when each chunk ends, rising from above 0.
        bytes_per_s: (N,) what it carries.
    """

    ends_s: Float64Array
    bytes_per_s: Float64Array

    def __post_init__(self) -> None:
        if not len(self.ends_s) or np.any(np.diff(self.ends_s, prepend=0.0) <= 0) or np.any(self.bytes_per_s < 0):
            raise ValueError("a trace has one or more chunks, one after the other, of rates of at least 0")

    @classmethod
    def constant(cls, kbps: float) -> Self:
        """The same rate for ever."""
        return cls(np.array([1.0]), np.array([kbps * 125.0]))

    @classmethod
    def steps(cls, *chunks: tuple[float, float]) -> Self:
        """Pieces of (seconds, kbit/s)."""
        seconds, kbps = np.array(chunks, np.float64).T
        return cls(np.cumsum(seconds), kbps * 125.0)

    @classmethod
    def read(cls, path: Path) -> Self:
        """A recorded trace; its format shows in its content.

        Raises:
            ValueError: it is of none of the three formats.
        """
        text = path.read_text(encoding="utf-8")
        try:
            if text.lstrip().startswith("{"):
                return cls._alphartc(json.loads(text))
            rows = [line.split() for line in text.splitlines() if line.strip()]
            if all(len(row) == 1 for row in rows):
                return cls._mahimahi(np.array([float(row[0]) for row in rows]))
            return cls._norway(np.array([[float(field) for field in row] for row in rows]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no trace of a known format: {error}") from error

    @classmethod
    def _mahimahi(cls, packet_ms: Float64Array) -> Self:
        bins = int(np.floor(packet_ms.max() / 1e3 / _BIN_S)) + 1
        count = np.bincount((packet_ms / 1e3 / _BIN_S).astype(int), minlength=bins)
        ends_s = np.arange(1, bins + 1, dtype=np.float64) * _BIN_S
        return cls(ends_s, np.asarray(count * _PACKET_BYTES / _BIN_S, np.float64))

    @classmethod
    def _alphartc(cls, document: dict[str, dict[str, list[dict[str, float]]]]) -> Self:
        chunks = document["uplink"]["trace_pattern"]
        ends = np.cumsum([chunk["duration"] / 1e3 for chunk in chunks])
        return cls(ends, np.array([chunk["capacity"] * 125.0 for chunk in chunks]))

    @classmethod
    def _norway(cls, rows: Float64Array) -> Self:
        at_s, mbps = rows.T
        last_s = float(np.median(np.diff(at_s)))
        ends = np.append(at_s[1:], at_s[-1] + last_s) - at_s[0]
        return cls(np.asarray(ends, np.float64), np.asarray(mbps * 125_000.0, np.float64))

    @property
    def length_s(self) -> float:
        """How long it is before it begins again."""
        return float(self.ends_s[-1])

    def scaled(self, low_kbps: float, high_kbps: float) -> "Trace":
        """The same ups and downs, their 5th and 95th percentile at these rates; nothing falls below 0."""
        lengths = np.diff(self.ends_s, prepend=0.0)
        order = np.argsort(self.bytes_per_s)
        share = np.cumsum(lengths[order]) / self.length_s
        low, high = np.interp([0.05, 0.95], share, self.bytes_per_s[order])
        if high <= low:
            return Trace(self.ends_s, np.full_like(self.bytes_per_s, high_kbps * 125.0))
        kbps = low_kbps + (self.bytes_per_s - low) / (high - low) * (high_kbps - low_kbps)
        return Trace(self.ends_s, np.maximum(kbps, 0.0) * 125.0)

    def carried(self, now_s: float) -> float:
        """Bytes that could have gone through from 0 to `now_s`."""
        rounds, rest = divmod(now_s, self.length_s)
        whole = self._totals()
        return float(rounds * whole[-1] + np.interp(rest, self._starts(), whole))

    def time_of(self, carried: float) -> float:
        """When so many bytes could have gone through: the inverse of `carried`."""
        whole = self._totals()
        rounds, rest = divmod(carried, whole[-1])
        return float(rounds * self.length_s + np.interp(rest, whole, self._starts()))

    def _starts(self) -> Float64Array:
        return np.concatenate([[0.0], self.ends_s])

    def _totals(self) -> Float64Array:
        rates = np.maximum(self.bytes_per_s, _LEAST_BYTES_PER_S)
        return np.concatenate([[0.0], np.cumsum(rates * np.diff(self.ends_s, prepend=0.0))])
