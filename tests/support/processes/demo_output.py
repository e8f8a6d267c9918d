"""An output directory with frames of the demo clip, made by all networks in this process."""

import itertools
from dataclasses import replace
from pathlib import Path

from common.body.model import BodyModel
from receiver.body.skinning import BodySkin
from receiver.config import PublishConfig
from receiver.link.refusals import SessionOwner
from receiver.mesh.mesh_texture import MeshTexture
from receiver.publish.frame_record import FrameRecord
from receiver.publish.session_directory import SessionDirectory
from sender.capture.open import open_source
from sender.config import TrackerConfig
from tests.bench.whole_system import whole_system

SIZES = {"total": 51, "header": 29, "root": 4, "torso": 3, "head": 1, "left_arm": 3, "right_arm": 4, "hands": 7}
"""Bytes of every frame, as those of a frame in the middle of the clip."""
RHO = {"root": 0.0, "torso": 0.2, "head": 0.2, "left_arm": 0.35, "right_arm": 0.35, "hands": 0.5}
STAGES_MS = {"codec": 0.6, "queue": 1.6, "decode": 7.9, "diffusion": 21.0, "body": 2.0, "surface": 11.1, "publish": 6.6}


def publish_demo(out: Path, frames: int, texture: MeshTexture | None = None) -> Path:
    """Publishes the clip's first `frames` frames with their surfaces and bodies, which all have the same texture."""
    system, skeleton = whole_system(TrackerConfig()), BodySkin.from_model(BodyModel.load()).skeleton
    with open_source("demo") as source, SessionDirectory(PublishConfig(out)) as directory:
        session = directory.session("demo", SessionOwner.from_secret("", b""))
        for frame in itertools.islice(source, frames):
            rebuilt = system.rebuild(frame)
            people = tuple(
                replace(
                    record,
                    surface=session.write_surface(frame.sequence, person.surface),
                    body=session.write_body(frame.sequence, replace(person.body, texture=texture), skeleton),
                )
                for person, record in zip(rebuilt.people, rebuilt.records, strict=True)
            )
            record = FrameRecord(
                frame.sequence,
                "demo.mp4",
                frame.captured_at,
                132.0,
                0.6,
                SIZES,
                RHO,
                STAGES_MS,
                people,
                camera=frame.camera,
            )
            session.append(record)
    return out
