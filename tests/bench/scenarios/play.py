"""One system over the link, from pictures to meshes.

    bodywire   pictures ─ sender ═ link ═ receiver ─ meshes
    pictures   pictures ─ coder ═ link ═ coder ─ sender ─ receiver ─ meshes
    meshes     pictures ─ sender ─ receiver ─ coder ═ link ═ coder ─ meshes

Sender and receiver are the daemons.  Those on one host talk to each other there, and count for nothing on the link.
"""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from common.arrays import FloatArray
from common.wire.pictures import ANSWER_PREFIX, PictureHeader, encode_picture
from receiver.mesh.body_file import read_mesh
from receiver.mesh.mesh_files import encode_mesh
from sender.perception.crop import CropBox
from tests.bench.motion.moving_clips import CAMERA
from tests.bench.scenarios.carrier import Carrier, Item
from tests.bench.scenarios.ways import CROP_PX, WAYS
from tests.bench.time.daemons import ROOT, Daemon
from tests.netlab.hosts import ADDRESSES, TwoHosts
from tests.support.link.certificate_authority import Authority

LABELS: Final = {"bodywire": (), "bodywire, labels alone": ("--no-colours",)}
SYSTEMS: Final = (*LABELS, *WAYS)
_PORT = 50_051
_LIMIT_S, _POLL_S = 120.0, 0.02
_GREY = 127


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture whose mesh is written at the receiver.

    Args:
        name: of the picture's source.
        at: when, seconds since the epoch.
        joints: (17, 3) metres; None where nobody was found.
        body: file of the mesh.
    """

    name: str
    captured_at: float
    at: float
    joints: FloatArray | None
    body: Path | None


Place = tuple[tuple[int, int], tuple[str, ...]]
"""Hosts of a sender and its receiver, and the sender's flags."""


def place_of(system: str) -> Place:
    """Of a system's daemons."""
    return {"labels": (0, 1), "meshes": (0, 0)}.get(_sends(system), (1, 1)), LABELS.get(system, ())


def _sends(system: str) -> str:
    return WAYS[system].sends if system in WAYS else "labels"


class Daemons:
    """A sender that takes pictures, and its receiver; encrypted between two hosts.

    Args:
        live: whether newer pictures replace older ones.

    Raises:
        OutputError: one of them failed.
    """

    def __init__(self, hosts: TwoHosts, folder: Path, place: Place, live: bool) -> None:
        self.live, self._out, self._read, (ends, flags) = live, folder / "out", 0, place
        pictures, address = folder / "pictures", f"127.0.0.1:{_PORT}"
        encrypted: tuple[list[str], list[str]] = ([], [])
        if ends[0] != ends[1]:
            address, authority = f"{ADDRESSES[1]}:{_PORT}", Authority.make(folder / "certificates")
            certificate, key = map(str, authority.issue("receiver", ADDRESSES[1]))
            encrypted = ["--tls-ca", str(authority.certificate)], ["--tls-cert", certificate, "--tls-key", key]
        near, far = (hosts.prefix(host) for host in ends)
        words = ["receiver", "--listen", address, "--no-page", "--out", str(self._out), "--format", "ply"]
        self.receiver = Daemon(ROOT, folder / "receiver.log", *words, *encrypted[1], within=far)
        self.receiver.wait_until(lambda: b"listening" in self.receiver.log.read_bytes())
        words = ["sender", f"socket{'+live' * live}:{pictures}", "--peer", address, *flags]
        self.sender = Daemon(ROOT, folder / "sender.log", *words, *encrypted[0], within=near)
        self._socket = socket.socket(socket.AF_UNIX)
        self.sender.wait_until(lambda: self._socket.connect_ex(str(pictures)) == 0)
        self._answers = self._socket.makefile("rb")

    def take(self, item: Item) -> None:
        """Gives the sender a picture (H, W, 3), and waits for its answer."""
        name = "camera" if self.live else str(item.number)
        encoded = cv2.imencode(".bmp", item.content[..., ::-1])[1].tobytes()
        with suppress(OSError, ValueError, struct.error):  # it is at its end
            self._socket.sendall(encode_picture(PictureHeader(name, item.captured_at), encoded))
            (size,) = ANSWER_PREFIX.unpack(self._answers.read(ANSWER_PREFIX.size))
            self._answers.read(size)

    def shown(self) -> Iterator[Shown]:
        """The frames that were written since the last call."""
        for path in self._out.glob("frames.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read += len(line)
                        yield self._of(json.loads(line))

    def _of(self, line: dict[str, Any]) -> Shown:
        at, people = line["captured_at"] + line["age_ms"] / 1e3, line["people"]
        if not people:
            return Shown(line["source"], line["captured_at"], at, None, None)
        joints, body = np.array(people[0]["joints_3d"], np.float32), self._out / people[0]["body"]
        return Shown(line["source"], line["captured_at"], at, joints, body)

    def close(self) -> None:
        self._socket.close()
        self.sender.end()
        self.receiver.end()


class Playing:
    """A system that plays; `close`, safe to call twice, ends it and not its daemons."""

    def __init__(self, hosts: TwoHosts, folder: Path, system: str, daemons: Daemons) -> None:
        self.system, self.hosts, self._folder, self._daemons = system, hosts, folder, daemons
        self._shown, self._made, self._ended = list[Shown](), list[Shown](), threading.Event()
        self._sends, self._began = _sends(system), time.time()
        # Pictures that wait before the sender have not gone in: they wait before the link, as for `bodywire`.
        queues = daemons.live or self._sends == "meshes"
        self.carrier = Carrier(hosts, self._arrived, queues) if system in WAYS else None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def take(self, choose: Callable[[], Item]) -> None:
        """Takes the picture that is chosen when the system has room for one."""
        if self.carrier is None or self._sends == "meshes":
            self._daemons.take(choose())
        elif self._sends == "crops":
            self.carrier.send(lambda: cut_crop(choose()))
        else:
            self.carrier.send(choose)

    def shown(self) -> list[Shown]:
        """What is written at the receiver's end until now."""
        return list(self._shown)

    def close(self) -> None:
        self._ended.set()
        if self.carrier is not None:
            self.carrier.close()
        self._reader.join()

    def _read(self) -> None:
        """Notes what the daemons write, and sends it on where meshes are sent."""
        while not self._ended.is_set():
            # Those from before are another system's.
            new = [shown for shown in self._daemons.shown() if shown.captured_at >= self._began]
            if self._sends != "meshes":
                self._shown += new
                new = []
            for shown in new[-1:] if self._daemons.live else new:
                self._send_on(shown)
            time.sleep(_POLL_S)

    def _send_on(self, shown: Shown) -> None:
        if shown.body is None or self.carrier is None:
            self._shown.append(shown)
            return
        self._made.append(shown)
        item = Item(len(self._made) - 1, shown.captured_at, CropBox(0, 0, 0), read_mesh(shown.body))
        self.carrier.send(lambda: item)

    def _arrived(self, item: Item) -> None:
        if self._sends == "meshes":
            body = self._folder / f"{item.number}.ply"
            body.write_bytes(encode_mesh(item.content, "ply"))
            # Draco of eight bits moves no joint by 2 mm: those of the mesh that was sent are taken for its own.
            self._shown.append(replace(self._made[item.number], at=time.time(), body=body))
        else:
            self._daemons.take(item if self._sends == "pictures" else pasted_crop(item))


def cut_crop(item: Item) -> Item:
    """The crop of a picture that perception would read."""
    return item._replace(content=item.crop.cut(item.content, CROP_PX))


def pasted_crop(item: Item) -> Item:
    """A crop in its place before grey, the rest of the picture, of which nothing was sent."""
    (left, top), side = (item.crop.left, item.crop.top), item.crop.side
    square = cv2.resize(item.content, (side, side), interpolation=cv2.INTER_CUBIC)
    shift = np.array([[1, 0, left], [0, 1, top]], np.float32)
    size, grey = (CAMERA.width, CAMERA.height), (_GREY,) * 3
    return item._replace(content=cv2.warpAffine(square, shift, size, flags=cv2.INTER_NEAREST, borderValue=grey))
