"""Label frames to bytes and back, exactly as they are: how a sender keeps them on disk.

What goes over the link is `common.codec`'s, which is lossy and needs the frames before; this is neither.
"""

from collections.abc import Mapping

import numpy as np
from google.protobuf.message import DecodeError

from common.arrays import FloatArray
from common.errors import MalformedPacket
from common.frames import Camera, LabelFrame, PersonLabels
from common.wire import label_frame_pb2 as pb

_FLOAT = np.dtype("<f4")


def encode_label_frame(frame: LabelFrame) -> bytes:
    """The bytes of a frame; the same frame gives the same bytes."""
    camera = frame.camera
    out = pb.LabelFrame(
        sequence=frame.sequence,
        source=frame.source,
        captured_at=frame.captured_at,
        camera=pb.Camera(width=camera.width, height=camera.height, focal_px=camera.focal_px),
        people=[
            pb.Person(
                identity=one.identity,
                score=one.score,
                labels=_packed(one.labels),
                sigma=_packed(one.sigma),
                confidence=one.confidence,
            )
            for one in frame.people
        ],
    )
    return out.SerializeToString(deterministic=True)


def decode_label_frame(data: bytes) -> LabelFrame:
    """The inverse of `encode_label_frame`.

    Raises:
        MalformedPacket: the bytes are no frame.
    """
    message = pb.LabelFrame()
    try:
        message.ParseFromString(data)
        people = tuple(
            PersonLabels(one.identity, one.score, _unpacked(one.labels), _unpacked(one.sigma), dict(one.confidence))
            for one in message.people
        )
    except (DecodeError, ValueError) as error:
        raise MalformedPacket("these bytes are no label frame") from error
    camera = Camera(message.camera.width, message.camera.height, message.camera.focal_px)
    return LabelFrame(message.sequence, message.source, message.captured_at, camera, people)


def _packed(vectors: Mapping[str, FloatArray]) -> dict[str, bytes]:
    return {name: np.asarray(vector, dtype=_FLOAT).tobytes() for name, vector in vectors.items()}


def _unpacked(vectors: Mapping[str, bytes]) -> dict[str, FloatArray]:
    return {name: np.frombuffer(data, _FLOAT).astype(np.float32) for name, data in vectors.items()}
