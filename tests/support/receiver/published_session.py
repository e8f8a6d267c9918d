"""A short clip and a session that a receiver published from it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from common.frames import Camera
from receiver.config import PublishConfig
from receiver.link.refusals import SessionOwner
from receiver.mesh.mesh_texture import MeshTexture
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.publish.session_directory import SessionDirectory
from tests.support.meshes.posed_body import box, posed_box

FRAMES = 6
OWNER = SessionOwner.from_secret("", b"")
"""The sender of sessions whose owner does not matter."""


def write_clip(path: Path) -> Path:
    """A video of `FRAMES` grey frames of 200 × 160 pixels, each 40 levels brighter than the previous one."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 200, 160, "yuv420p"
        for n in range(FRAMES):
            image = np.full((160, 200, 3), 40 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


CAMERA = Camera(200, 160, 240.0)


def frame_record(sequence: int) -> FrameRecord:
    """A frame without people."""
    return FrameRecord(sequence, "demo", 1.0, 5.0, None, {"total": 100})


def person_record() -> PersonRecord:
    """Joints 3 m in front of `CAMERA`, and their projections."""
    joints = np.random.default_rng(0).normal(scale=0.4, size=(17, 3)).astype(np.float32)
    joints[:, 2] = 3.0
    keypoints = np.column_stack([CAMERA.project(joints), np.ones(17, np.float32)])
    return PersonRecord(0, 0.9, keypoints, joints)


def publish(
    out: Path, frames: int = FRAMES, surface: SurfaceMesh | None = None, texture: MeshTexture | None = None
) -> Path:
    """Publishes frames with one person, whose surface and body are boxes unless `surface` is given."""
    body, skeleton = posed_box()
    body = dataclasses.replace(body, texture=texture)
    with SessionDirectory(PublishConfig(out)) as directory:
        session = directory.session("demo", OWNER)
        for n in range(frames):
            paths = session.write_surface(n, surface or box()), session.write_body(n, body, skeleton)
            person = dataclasses.replace(person_record(), surface=paths[0], body=paths[1])
            sizes = {"total": 200 + n, "root": 20}
            session.append(
                FrameRecord(
                    n, "clip.mp4", 10.0 + 0.1 * n, 50.0, 1.0, sizes, {}, {"surface": 20.0}, (person,), camera=CAMERA
                )
            )
    return out


def record_session(
    directory: SessionDirectory, name: str, subject: str = "", *, people: bool = True, frames: int = 3
) -> None:
    """A session of frames of one second with one person, or nobody, from `name`.mp4; it has ended."""
    writer = directory.session(name, SessionOwner.from_secret(subject, b""))
    body, skeleton = posed_box()
    for n in range(frames):
        person = person_record()
        if people:
            paths = writer.write_surface(n, box()), writer.write_body(n, body, skeleton)
            person = dataclasses.replace(person, surface=paths[0], body=paths[1])
        shown, sizes = (person,) if people else (), {"total": 20}
        writer.append(FrameRecord(n, f"{name}.mp4", 10.0 + n, 50.0, 1.0, sizes, people=shown, link_bytes=100 + n))
    writer.close()


def record_album(directory: SessionDirectory, *pictures: Sequence[int]) -> None:
    """A session of pictures 1.jpg, 2.jpg and so on, each with people of these identities; it has ended."""
    writer = directory.session("album", OWNER)
    body, skeleton = posed_box()
    for n, identities in enumerate(pictures):
        people = []
        for identity in identities:
            whose = identity if len(identities) > 1 else None
            dressed = replace(body, mesh=replace(body.mesh, vertices=body.mesh.vertices * (1 + 0.1 * identity)))
            paths = writer.write_surface(n, dressed.mesh, whose), writer.write_body(n, dressed, skeleton, whose)
            people.append(replace(person_record(), identity=identity, surface=paths[0], body=paths[1]))
        writer.append(FrameRecord(n, f"{n + 1}.jpg", 10.0 + n, 50.0, 1.0, {"total": 20}, people=tuple(people)))
    writer.close()
