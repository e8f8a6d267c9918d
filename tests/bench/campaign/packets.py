"""Hostile packets, many, through one frame decoder, with valid ones in between."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from random import Random

import numpy as np

from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.codec.packet import CHECK_SIZE
from common.errors import WireError
from common.frames import check_frame
from tests.bench.campaign.journal import Piece
from tests.netlab.counting_receiver import resident_kb
from tests.netlab.hostile_packets import HostilePacket, hostile_frames
from tests.support.label_motion import MODEL_HASH
from tests.support.packet_mutations import mutated, same, stream, with_right_check

# Of one round over the valid stream: mutations before each of its packets; then mutations with right checks, and
# packets that are well-formed but absurd.
_MUTATED, _CHECKED, _ABSURD = 400, 48, 16
_HOSTILE = ("mutated", "right_check", "absurd")
_MOST_FAULTS = 10


class Attack:
    """One decoder under attack."""

    def __init__(self, seed: str) -> None:
        self._rng = Random(seed)
        self._decoder, self._packets, self._right = stream()
        self._absurd = hostile_frames(np.random.default_rng(self._rng.getrandbits(64)), FrameCodec(MODEL_HASH))
        self._number = 0
        # Whether the decoder has accepted another packet since the stream's key frame: then later ones may not decode.
        self._strayed = False
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def round(self) -> None:
        """Decodes the stream from its key frame on between mutations, then packets with right checks."""
        for sequence in range(len(self._packets)):
            self._hostile("mutated", self._mutations(), _MUTATED)
            self._valid(sequence)
        self._hostile("right_check", self._checked(), _CHECKED)
        self._hostile("absurd", self._absurd, _ABSURD)

    def _mutations(self) -> Iterator[HostilePacket]:
        while True:
            self._number += 1
            sequence, data = mutated(self._number, self._rng, self._packets)
            if data != self._packets[sequence]:
                yield HostilePacket(sequence, data)

    def _checked(self) -> Iterator[HostilePacket]:
        for sequence, data in self._mutations():
            try:
                yield HostilePacket(sequence, with_right_check(self._decoder, data[:-CHECK_SIZE], sequence))
            except WireError:
                self.counts["right_check_without_reference"] += 1

    def _hostile(self, kind: str, packets: Iterator[HostilePacket], number: int) -> None:
        for sequence, data in islice(packets, number):
            self.counts[kind] += 1
            if self._decode(data, sequence) is not None:
                self.counts[f"{kind}_accepted"] += 1
                self._strayed = True

    def _valid(self, sequence: int) -> None:
        """A key frame must decode right always, the others until the decoder accepts another packet."""
        self._strayed &= sequence > 0
        decoded = self._decode(self._packets[sequence], sequence)
        self.counts["valid"] += 1
        self.counts["valid_compared"] += not self._strayed
        if not self._strayed and (decoded is None or not same(decoded, self._right[sequence])):
            self.faults.append(f"valid packet {sequence} is {'refused' if decoded is None else 'decoded wrongly'}")

    def _decode(self, data: bytes, sequence: int) -> DecodedFrame | None:
        try:
            decoded = self._decoder.decode(data, sequence)
            check_frame(decoded.frame)
        except WireError as refusal:
            self.counts[type(refusal).__name__] += 1
        except Exception as error:
            self.faults.append(f"{type(error).__name__} ({error}) by packet {sequence}: {data[:500].hex()}")
        else:
            return decoded
        return None


def attack(packets: float, seed: str) -> Piece:
    """Decodes at least so many hostile packets, or until faults are found."""
    attacker, begin_kb = Attack(seed), 0
    counts, done = attacker.counts, 0
    while done < packets and len(attacker.faults) < _MOST_FAULTS:
        attacker.round()
        done = sum(counts[kind] for kind in _HOSTILE)
        # Behind the first rounds, whose memory is that of tables and modules.
        begin_kb = begin_kb or (resident_kb() if done > packets / 50 else 0)
    if counts["mutated_accepted"] > 4 + 2 * counts["mutated"] / 65_536:
        attacker.faults.append(f"{counts['mutated_accepted']} of {counts['mutated']} mutated packets passed the check")
    end_kb = resident_kb()
    return Piece(done, dict(counts), {"growth_kb": [end_kb - begin_kb], "rss_kb": [end_kb]}, faults=attacker.faults)
