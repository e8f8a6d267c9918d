"""What the codec makes of a frame, and what each label group takes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.codec.frame_state import FrameState
from common.codec.packet import CHECK_SIZE
from common.codec.person import PersonPlan
from common.frames import LabelFrame
from common.labels import GROUP_NAMES


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """The result of `FrameCodec.encode` or `encode_bundle`.

    Args:
        bytes_by_group: share of each group in the packet, plus `header` (header, check, plans); sums to its length.
        bits_ideal: −Σ log₂ p over all range-coded symbols.
        bits_coded: 8 × the bytes of the range coder's output.
        key: whether it begins with a key frame, which needs no reference.
        sequence: of its last frame.
        reference: sequence number of the frame it is predicted from, None in a key frame.
    """

    payload: bytes
    bytes_by_group: Mapping[str, float]
    bits_ideal: float
    bits_coded: int
    key: bool
    sequence: int
    reference: int | None


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """The result of `FrameCodec.decode`, or a part of that of `decode_bundle`.

    Args:
        frame: the people with their known groups, without `sigma`.
        reference: sequence number of the frame it was predicted from, None in a key frame.
        bytes_by_group: as in `EncodedFrame`; the frames of a bundle share its header.
        rho_by_person: identity → group name → ρ of the person's groups in the packet.
        clock_set_s: by how much the sender's clock was set before it, which its time of capture does not show.
    """

    frame: LabelFrame
    reference: int | None
    bytes_by_group: Mapping[str, float]
    rho_by_person: Mapping[int, Mapping[str, float]]
    clock_set_s: float = 0.0

    @property
    def rho(self) -> Mapping[str, float]:
        """Group name → ρ of the groups in the packet, for the first person."""
        return next(iter(self.rho_by_person.values()), {})


@dataclass
class Coded:
    """What was coded: the state that follows, the plans of the people, and the bits of each group."""

    state: FrameState
    plans: list[PersonPlan]
    bits: dict[str, float]


def rho_of(plan: PersonPlan) -> dict[str, float]:
    """ρ of the groups that are sent."""
    return {name: int(plan.level[g]) / 15 for g, name in enumerate(GROUP_NAMES) if plan.sent[g]}


def total_bits(coded: Sequence[Coded]) -> dict[str, float]:
    """Bits of each group in a packet."""
    total: dict[str, float] = {}
    for part in coded:
        for name, bits in part.bits.items():
            total[name] = total.get(name, 0.0) + bits
    return total


def bytes_of_each(coded: Sequence[Coded], total: int) -> list[dict[str, float]]:
    """Shares of each frame in a packet of `total` bytes, with an equal part of the header."""
    bits = total_bits(coded)
    whole = shares_of(bits, total)
    header = whole.pop("header") / len(coded)
    return [
        {name: whole[name] * (each / bits[name]) for name, each in part.bits.items() if name in whole}
        | {"header": header}
        for part in coded
    ]


def shares_of(bits: Mapping[str, float], total: int) -> dict[str, float]:
    """Shares in a packet of `total` bytes, which may be fewer than the information of its groups and the check."""
    information_bytes = max(sum(bits.values()) / 8, 1e-9)
    scale = min(1.0, (total - CHECK_SIZE) / information_bytes) / 8
    shares = {name: round(scale * value, 2) for name, value in bits.items() if value > 0}
    return {**shares, "header": round(total - sum(shares.values()), 2)}
