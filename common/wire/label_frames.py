"""Lossless serialisation of label frames, for the sender's spool.

Unlike the packets of `common.codec`, which go over the link, each frame can be read without the frames before it.
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
    """Serialises a frame; deterministic."""
    camera = frame.camera
    out = pb.LabelFrame(
        sequence=frame.sequence,
        source=frame.source,
        captured_at=frame.captured_at,
        camera=pb.Camera(width=camera.width, height=camera.height, focal_px=camera.focal_px),
        people=[
            pb.Person(
                identity=person.identity,
                score=person.score,
                labels=_pack(person.labels),
                sigma=_pack(person.sigma),
                confidence=person.confidence,
            )
            for person in frame.people
        ],
    )
    return out.SerializeToString(deterministic=True)


def decode_label_frame(data: bytes) -> LabelFrame:
    """The inverse of `encode_label_frame`. Raises MalformedPacket if the bytes are not a label frame."""
    message = pb.LabelFrame()
    try:
        message.ParseFromString(data)
        people = tuple(
            PersonLabels(
                person.identity,
                person.score,
                _unpack(person.labels),
                _unpack(person.sigma),
                dict(person.confidence),
            )
            for person in message.people
        )
    except (DecodeError, ValueError) as error:
        raise MalformedPacket("these bytes are not a label frame") from error
    camera = Camera(message.camera.width, message.camera.height, message.camera.focal_px)
    return LabelFrame(message.sequence, message.source, message.captured_at, camera, people)


def _pack(vectors: Mapping[str, FloatArray]) -> dict[str, bytes]:
    return {name: np.asarray(vector, dtype=_FLOAT).tobytes() for name, vector in vectors.items()}


def _unpack(vectors: Mapping[str, bytes]) -> dict[str, FloatArray]:
    return {name: np.frombuffer(data, _FLOAT).astype(np.float32) for name, data in vectors.items()}
