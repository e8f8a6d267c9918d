"""What several views of one person say together: views of a clip repeat each other's errors."""

from dataclasses import dataclass
from typing import Final

MEMORY_VIEWS: Final = 12.0
"""Views that a mean covers, because light and clothes change."""


def independent_share(views: float, shared: float) -> float:
    """Share of several views that counts as independent ones, of whose errors a share is common to all."""
    return 1 / (1 + shared * max(views - 1, 0))


@dataclass(slots=True)
class Contradictions:
    """Views in a row that contradict what is known.

    Args:
        enough: of them, something has changed.
    """

    enough: int
    count: int = 0

    def add(self, contradicts: bool) -> bool:
        """Takes a view; returns whether it is the last of enough, after which counting begins anew."""
        self.count = self.count + 1 if contradicts else 0
        changed = self.count >= self.enough
        if changed:
            self.count = 0
        return changed
