"""Who is notified of what an engine does; imports nothing: metrics are there before the networks' library is."""


class EngineObserver:
    """Is notified of what an engine does; by default ignores it."""

    def batch_taken(self, people: int) -> None:
        """So many people go through the networks together."""

    def person_taken(self, waited_s: float) -> None:
        """A person has waited for a batch for so long."""

    def person_finished(self, served_s: float) -> None:
        """A person was finished so long after the batch was taken; also if it failed."""

    def batch_retried(self) -> None:
        """A batch is reconstructed again, because its replica was lost."""

    def replicas_running(self, count: int) -> None:
        """So many replicas of the networks take batches now."""
