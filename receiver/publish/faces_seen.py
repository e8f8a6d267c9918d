"""For how long the faces of a session's people have been seen: so long the sender has learned what they do at rest."""

from common.frames import PersonLabels, has_face

# Between frames that are farther apart the face was not seen; after so long an identity may be somebody else.
_MOST_STEP_S, _FORGOTTEN_S = 0.5, 60.0


class FacesSeen:
    """Of one session."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float, float]] = {}

    def seconds(self, person: PersonLabels, captured_at: float) -> float | None:
        """Seconds for which a person's face was seen until now; None without a face."""
        if not has_face(person):
            return None
        total_s, last_at = self._seen.get(person.identity, (0.0, captured_at))
        step_s = captured_at - last_at
        if abs(step_s) > _FORGOTTEN_S:
            total_s = 0.0
        elif 0 < step_s <= _MOST_STEP_S:
            total_s += step_s
        self._seen[person.identity] = total_s, captured_at
        return total_s
