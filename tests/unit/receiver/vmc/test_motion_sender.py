"""Where motion goes, and what is told when nothing gets there."""

import errno
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from common.body.faces import ENTRIES, ExpressionSpace
from common.body.model import BodyModel
from common.clock import Clock
from common.frames import PersonLabels
from common.io.addresses import Address
from common.labels import LABEL_SIZE
from receiver.body.skinning import BodySkin
from receiver.config import PublishConfig, VmcConfig
from receiver.engine.engine import ReconstructedPerson
from receiver.export.rigging import made_of_body
from receiver.publish.frame_record import PersonRecord
from receiver.publish.session_directory import SessionDirectory
from receiver.vmc import motion_sender
from receiver.vmc.humanoid import PERFECT_SYNC, expressions
from receiver.vmc.motion_sender import RATE_HZ, MotionSender, Target, failure, probed
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_templates import pose, templates
from tests.support.motion.expressive_people import activations
from tests.support.motion.recorded_person import FRAMES, body_parameters
from tests.support.processes.osc_reader import Message, messages
from tests.support.receiver.fake_reconstructor import SKELETON, tetrahedron_of
from tests.support.receiver.published_session import OWNER, frame_record

To = Callable[[Address], Target]
REOPENED_S = 1.01
"""A little more than the time after which what fails is opened again."""


class Time:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.clock = Clock(lambda: self.now_s, lambda: self.now_s)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def to(time: Time) -> Iterator[To]:
    """Makes targets, and closes them."""
    made: list[Target] = []

    def make(address: Address) -> Target:
        made.append(Target(address, time.clock))
        return made[-1]

    yield make
    for each in made:
        each.close()


def listening(family: int = socket.AF_INET, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.bind((host, port))
    opened.setblocking(False)
    return opened


def send_for(time: Time, target: Target, seconds: float) -> None:
    """Sends sixty poses a second."""
    for _ in range(round(60 * seconds)):
        target.send([b"pose"])
        time.now_s += 1 / 60


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listening() as opened:
        yield opened


def port_of(opened: socket.socket) -> int:
    return int(opened.getsockname()[1])


def taken(opened: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(opened.recv(65_536))
        except BlockingIOError:
            return found


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> None:
    """Lookups of names give these in turn: lists of addresses, or errors."""
    given, real = iter(answers), socket.getaddrinfo

    def getaddrinfo(host: str, port: int, type: int) -> Any:
        answer = next(given)
        if isinstance(answer, OSError):
            raise answer
        return [found for each in answer for found in real(each, port, type=type)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_localhost_is_reached_by_ipv4_first(
    listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    resolve_to(monkeypatch, ["::1", "127.0.0.1"])
    port = port_of(listener)
    opened = to(Address("localhost", port))
    opened.send([b"one", b"two"])
    assert taken(listener) == [b"one", b"two"]
    assert lines(caplog) == [f"--vmc localhost:{port}: motion goes to 127.0.0.1:{port}"]


def test_next_address_is_taken_where_nobody_listens_at_the_first(
    to: To, time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    with listening(socket.AF_INET6, "::1") as listener:
        resolve_to(monkeypatch, *[["::1", "127.0.0.1"]] * 9)
        port = port_of(listener)
        opened = to(Address("localhost", port))
        for _ in range(10):
            opened.send([b"pose"] * 2)
            time.now_s += REOPENED_S
        assert len(taken(listener)) > 10
    refused = f"--vmc localhost:{port}: nothing gets there (Connection refused)"
    first, second, third, again = lines(caplog)
    assert (first, third) == tuple(
        f"--vmc localhost:{port}: motion goes to {host}:{port}" for host in ("127.0.0.1", "[::1]")
    )
    assert second.startswith(refused) and "start the program" in second
    assert again == f"--vmc localhost:{port}: motion gets to [::1]:{port} again"


def test_closed_port_is_told_once_and_again_when_somebody_listens(
    listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = port_of(listener)
    opened = to(Address("127.0.0.1", port))
    opened.send([b"pose"])
    listener.close()
    send_for(time, opened, 10)
    goes, refused = lines(caplog)
    assert "motion goes to" in goes and "(Connection refused): start the program" in refused
    with listening(port=port) as back:
        send_for(time, opened, 10)
        assert len(taken(back)) > 200, "as many as the system keeps"
    (again,) = lines(caplog)
    assert again.endswith(f"motion gets to 127.0.0.1:{port} again")
    for _ in range(3):
        opened.send([b"pose"])
    assert [line.split(": ")[1] for line in lines(caplog)] == ["nothing gets there (Connection refused)"]


def test_broadcast_is_permitted(listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture) -> None:
    port = port_of(listener)
    with listening(host="0.0.0.0", port=0) as everywhere:
        opened = to(Address("127.255.255.255", port_of(everywhere)))
        opened.send([b"pose"])
        assert taken(everywhere) == [b"pose"]
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert probed(Address("127.255.255.255", port)).endswith("every machine of that network")


def test_name_that_resolves_later_is_looked_up_again_beside_the_sending(
    listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    resolve_to(monkeypatch, unknown, unknown, ["127.0.0.1"])
    opened = to(Address("studio", port_of(listener)))
    for _ in range(4):
        opened.send([b"pose"])
        if opened._lookup is not None:
            opened._lookup.exception(10)
        opened.send([b"pose"])
        time.now_s += REOPENED_S
    assert taken(listener)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning == f"--vmc {opened._address}: Name or service not known: give an address that this machine knows"


def test_each_cause_is_told_while_a_network_goes_and_it_is_opened_again_when_it_comes(
    listener: socket.socket, to: To, time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    opened = to(Address("127.0.0.1", port_of(listener)))
    opened.send([b"pose"])
    real = motion_sender.connected
    opened.close()
    for cause in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        monkeypatch.setattr(motion_sender, "connected", Mock(side_effect=OSError(cause, os.strerror(cause))))
        send_for(time, opened, 5)
    monkeypatch.setattr(motion_sender, "connected", real)
    send_for(time, opened, 7)
    told = [line.split(": ", 1)[1].split(": ")[0] for line in lines(caplog)]
    assert told[1:3] == ["nothing gets there (Network is unreachable)", "nothing gets there (No route to host)"]
    assert told[3:] == [f"motion gets to 127.0.0.1:{port_of(listener)} again"]
    assert len(taken(listener)) > 100


def test_what_is_told_says_what_to_do() -> None:
    address = Address("10.0.0.255", 39539)
    assert failure(address, OSError(errno.EPERM, "Operation not permitted")).endswith("permit it in the firewall")
    unreachable = failure(address, OSError(errno.ENETUNREACH, "Network is unreachable"))
    assert (
        unreachable == "--vmc 10.0.0.255:39539: nothing gets there (Network is unreachable): tried again until it works"
    )


def test_doctor_says_where_motion_leads(listener: socket.socket) -> None:
    port = port_of(listener)
    assert probed(Address("127.0.0.1", port)) == f"127.0.0.1:{port}"
    assert taken(listener) == [motion_sender.EMPTY_BUNDLE]
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        probed(Address("127.0.0.1", port))
    with pytest.raises(socket.gaierror):
        probed(Address("nowhere.invalid", port))


def test_addresses_of_the_configuration() -> None:
    texts = ("39540", ":39541", "studio", "[::1]:9", "192.168.1.255:39539", "[ff02::1%eth0]:9", "239.1.2.3:9")
    assert [str(each) for each in VmcConfig(texts).addresses] == [
        *("127.0.0.1:39540", "127.0.0.1:39541", "studio:39539", "[::1]:9", "192.168.1.255:39539"),
        *("[ff02::1%eth0]:9", "239.1.2.3:9"),
    ]
    assert VmcConfig().addresses == ()


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        *((("",), "--vmc: '' is not host:port"), (("0",), "--vmc needs a port"), (("a:b",), "not host:port")),
        *((("studio:99999",), "not host:port"), (("a:39539-39540",), "not host:port")),
        *(
            (("a", "a:39539"), "--vmc a:39539 is there twice"),
            (("[fe80::1]:9",), r"its interface, such as \[fe80::1%eth0"),
        ),
        (("127.0.0.1:9", "[ff02::1]:9"), "needs its interface"),
    ],
)
def test_addresses_that_cannot_work(texts: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        VmcConfig(texts)


FINGERS = [
    f"{finger}{phalanx}"
    for finger in ("Thumb", "Index", "Middle", "Ring", "Little")
    for phalanx in ("Proximal", "Intermediate", "Distal")
]
SIDED = ["UpperLeg", "LowerLeg", "Foot", "Shoulder", "UpperArm", "LowerArm", "Hand", *FINGERS, "Toes", "Eye"]
# UnityEngine.HumanBodyBones, without LastBone.
HUMAN_BODY_BONES = {
    *("Hips", "Spine", "Chest", "UpperChest", "Neck", "Head", "Jaw"),
    *(f"{side}{bone}" for side in ("Left", "Right") for bone in SIDED),
}
UNMOVED = {"Jaw", "LeftToes", "RightToes", "LeftEye", "RightEye"}
PARENTS = {"Spine": "Hips", "Chest": "Spine", "UpperChest": "Chest", "Neck": "UpperChest", "Head": "Neck"} | {
    f"{side}{bone}": f"{side}{parent}" if parent in SIDED else parent
    for side in ("Left", "Right")
    for bone, parent in (
        *(("UpperLeg", "Hips"), ("LowerLeg", "UpperLeg"), ("Foot", "LowerLeg"), ("Shoulder", "UpperChest")),
        *(("UpperArm", "Shoulder"), ("LowerArm", "UpperArm"), ("Hand", "LowerArm")),
        *((finger, "Hand" if "Proximal" in finger else FINGERS[FINGERS.index(finger) - 1]) for finger in FINGERS),
    )
}
# In a T-pose in Unity, of which way a bone points, and our joints at its ends.
LIMBS = {
    f"{side}{bone}": (direction if bone.endswith("Leg") else [x, 0, 0], f"{start}.{end}", f"{stop}.{end}")
    for side, end, x in (("Left", "L", -1), ("Right", "R", 1))
    for bone, direction, start, stop in (
        *(("UpperArm", None, "upperarm01", "lowerarm01"), ("LowerArm", None, "lowerarm01", "wrist")),
        *(("Hand", None, "wrist", "finger3-1"), ("IndexProximal", None, "finger2-1", "finger2-2")),
        *(("LittleIntermediate", None, "finger5-2", "finger5-3"), ("LowerLeg", [0, -1, 0], "lowerleg01", "foot")),
        ("UpperLeg", [0, -1, 0], "upperleg01", "lowerleg01"),
    )
}


def address_of(listener: socket.socket) -> Address:
    return Address("127.0.0.1", port_of(listener))


def received(listener: socket.socket) -> list[Message]:
    packets = taken(listener)
    assert max(map(len, packets), default=0) <= 1452
    return [message for packet in packets for message in messages(packet)]


def bones_in(found: list[Message]) -> dict[str, Any]:
    """Bone → rotation relative to its parent, and position."""
    poses = [values for address, values in found if address == "/VMC/Ext/Bone/Pos"]
    return {str(name): (Rotation.from_quat(values[3:]), np.array(values[:3])) for name, *values in poses}


def in_scene(bones: dict[str, Any], bone: str) -> Rotation:
    parent = PARENTS.get(bone)
    local: Rotation = bones[bone][0]
    return local if parent is None else in_scene(bones, parent) * local


def people() -> list[ReconstructedPerson]:
    """One person in three poses, of random shape."""
    skin = BodySkin.from_model(BodyModel.load())
    output = templates(skin, body_parameters())
    made = tetrahedron_of(PersonLabels(3, 1.0, {}))
    return [replace(made, body=pose(skin, output, number)) for number in range(FRAMES)]


def angle_deg(one: Any, other: Any) -> float:
    cosine = np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def test_bones_are_those_of_the_session_in_unitys_axes(tmp_path: Path, listener: socket.socket) -> None:
    skeleton = BodySkin.from_model(BodyModel.load()).skeleton
    sender, shown = MotionSender([address_of(listener)], skeleton), []
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        session = directory.session("01", OWNER)
        for number, person in enumerate(people()):
            path = session.write_body(number, person.body, skeleton)
            record = replace(
                frame_record(number),
                people=(PersonRecord(3, 1.0, person.keypoints_2d, person.joints_3d, body=path),),
            )
            session.append(record)
            sender.frame_published(1, record, [person])
            sender.send()
            shown.append(received(listener))
    sender.close()
    mirror, first_m = np.array([-1, 1, 1]), None
    for line, found in zip((tmp_path / "frames.jsonl").read_text().splitlines(), shown, strict=True):
        glb = Glb(made_of_body((tmp_path / json.loads(line)["people"][0]["body"]).with_suffix(".glb")))
        world = {glb.document["nodes"][node].get("name"): matrix for node, matrix in glb.joint_matrices().items()}
        bones = bones_in(found)
        assert set(bones) == HUMAN_BODY_BONES - UNMOVED
        assert ("/VMC/Ext/Root/Pos", ("root", 0, 0, 0, 0, 0, 0, 1)) in found and ("/VMC/Ext/OK", (1,)) in found
        for bone, (t_pose, start, end) in LIMBS.items():
            expected = (world[end][:3, 3] - world[start][:3, 3]) * mirror
            assert angle_deg(in_scene(bones, bone).apply(t_pose), expected) < 1, bone
        for bone, joint in (("Hips", "root"), ("UpperChest", "spine01"), ("Head", "head"), ("LeftFoot", "foot.L")):
            expected = Rotation.from_matrix(world[joint][:3, :3] * mirror[:, None] * mirror)
            assert np.degrees((in_scene(bones, bone) * expected.inv()).magnitude()) < 1, bone
        hips_m = bones["Hips"][1]
        first_m = world["root"][:3, 3] * mirror - hips_m if first_m is None else first_m
        np.testing.assert_allclose(hips_m, world["root"][:3, 3] * mirror - first_m, atol=1e-4)
    across_m, up_m, along_m = bones_in(shown[0])["Hips"][1]
    assert 0.5 < up_m < 1.3 and abs(across_m) + abs(along_m) < 1e-4, "above the floor where the person was first seen"


class Waits:
    """Stands for the event that ends the thread: time passes while it is waited for.

    Args:
        stalls_s: by the number of the wait, how much longer it takes.
    """

    def __init__(self, stalls_s: Mapping[int, float], until_s: float) -> None:
        self.now_s, self._until_s, self._stalls_s, self._count = 100.0, until_s, stalls_s, 0
        self.clock = Clock(lambda: self.now_s, lambda: self.now_s)

    def set(self) -> None:
        """Nobody waits."""

    def wait(self, delay_s: float) -> bool:
        self.now_s += delay_s + 0.004 + self._stalls_s.get(self._count, 0.0)  # wakes late
        self._count += 1
        return self.now_s > self._until_s


def sent_at(listener: socket.socket, waits: Waits) -> list[float]:
    """When poses are sent."""
    skeleton = BodySkin.from_model(BodyModel.load()).skeleton
    sender = MotionSender([address_of(listener)], skeleton, waits.clock)
    sender.frame_published(1, frame_record(0), people()[:1])
    sender._stopped = waits  # type: ignore[assignment]
    found: list[Message] = []
    real = sender.send

    def send() -> None:
        real()
        found.extend(received(listener))

    sender.send = send  # type: ignore[method-assign]
    sender.run()
    sender.close()
    times = [float(values[0]) for address, values in found if address == "/VMC/Ext/T"]
    assert sum(values[0] == "Hips" for address, values in found if address.endswith("/Bone/Pos")) == len(times)
    return times


def test_thirty_poses_a_second(listener: socket.socket) -> None:
    times = sent_at(listener, Waits({}, 103.0))
    assert 3 * RATE_HZ - 2 <= len(times) <= 3 * RATE_HZ + 1


def test_poses_that_were_missed_are_left_out(listener: socket.socket) -> None:
    """After each halt one pose goes, and then at the rate: nothing is caught up."""
    times = sent_at(listener, Waits({10: 3.0, 40: 0.15, 41: 0.155, 60: 0.027}, 106.0))
    gaps_s = np.diff(times)
    assert gaps_s.min() > 0.5 / RATE_HZ, "nothing is caught up, and nothing follows what was late at once"
    assert (gaps_s > 1.5 / RATE_HZ).sum() == 4 and gaps_s.max() == pytest.approx(3.0, abs=1.5 / RATE_HZ)
    assert len(times) == pytest.approx((6 - 3.3) * RATE_HZ, abs=4)


def test_pose_that_cannot_be_made_is_told_once_and_others_follow(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise IndexError("no such joint")

    waits = Waits({}, 101.0)
    monkeypatch.setattr("receiver.vmc.motion_sender.Humanoid.pose", refuse)
    sender = MotionSender([address_of(listener)], BodySkin.from_model(BodyModel.load()).skeleton, waits.clock)
    sender.frame_published(1, frame_record(0), people()[:1])
    sender._stopped = waits  # type: ignore[assignment]
    sender.run()
    (record,) = (each for each in caplog.records if each.levelno == logging.ERROR)
    assert record.getMessage() == "a pose was not sent: IndexError: no such joint"
    monkeypatch.undo()
    sender.frame_published(1, frame_record(1), people()[:1])
    sender.send()
    assert bones_in(received(listener))
    sender.close()


def test_motion_is_sent_beside_an_event_loop_that_stands(listener: socket.socket) -> None:
    """Nothing of the loop's runs here, and poses go out until `close`, to each target."""
    listener.settimeout(10)
    with listening() as other:
        other.settimeout(10)
        targets = [address_of(listener), address_of(other)]
        sender = MotionSender(targets, BodySkin.from_model(BodyModel.load()).skeleton)
        sender.start()
        sender.frame_published(1, frame_record(0), people()[:1])
        for each in (listener, other):
            while not bones_in(list(messages(each.recv(65_536)))):
                pass
        sender.session_ended(1)
        while ("/VMC/Ext/OK", (0,)) not in list(messages(listener.recv(65_536))):
            pass
        sender.close()
        assert not sender._thread.is_alive()


def test_face_is_sent_by_the_names_of_avatars_and_becomes_neutral_when_unseen(
    listener: socket.socket,
) -> None:
    skin = BodySkin.from_model(BodyModel.load())
    sender, (first, unseen, _) = MotionSender([address_of(listener)], skin.skeleton), people()
    actions = {"jawOpen": 0.5, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 0.75, "mouthSmileLeft": 1, "eyeLookOutRight": 0.5}
    face = activations(actions)[0].numpy()
    blends, eyes = [], []
    for person in (unseen, replace(first, body=replace(first.body, activations=face)), unseen):
        sender.frame_published(1, frame_record(0), [person])
        sender.send()
        found = received(listener)
        eyes.append({name: pose for name, pose in bones_in(found).items() if name.endswith("Eye")})
        sent = (values for address, values in found if address == "/VMC/Ext/Blend/Val")
        blends.append({str(name): float(value) for name, value in sent})
        addresses = [address for address, _ in found if address.startswith("/VMC/Ext/Blend")]
        assert addresses[-1:] == ["/VMC/Ext/Blend/Apply"][: len(addresses)]
    sender.close()
    nothing, shown, neutral = blends
    assert nothing == {}
    assert set(PERFECT_SYNC) | {*"AIUEO", "Blink_L", "Blink_R", "Joy", "LookLeft", "LookUp"} <= set(shown)
    assert {name for name in PERFECT_SYNC if shown[name]} == {name[0].upper() + name[1:] for name in actions}
    assert (shown["JawOpen"], shown["A"], shown["O"], shown["Joy"], shown["LookRight"]) == (0.5, 0.5, 0, 0.5, 0.25)
    assert (shown["Blink_L"], shown["Blink_R"]) == (1, 0.75)
    assert "Blink" not in shown, "programs add it to the others"
    assert set(neutral) == set(shown) and not any(neutral.values())
    assert [set(bones) for bones in eyes] == [set(), {"LeftEye", "RightEye"}, {"LeftEye", "RightEye"}]
    left, right = (eyes[1][f"{side}Eye"] for side in ("Left", "Right"))
    assert left[1][0] < 0 < right[1][0] and left[0].magnitude() < 1e-6
    assert right[0].apply([0, 0, 1])[0] == pytest.approx(np.sin(np.radians(10))), "half way to the person's right"
    assert eyes[2]["RightEye"][0].magnitude() < 1e-6


def test_same_person_is_followed_until_out_of_sight(listener: socket.socket) -> None:
    now_s = 0.0
    skin = BodySkin.from_model(BodyModel.load())
    sender = MotionSender([address_of(listener)], skin.skeleton, Clock(lambda: now_s, lambda: now_s))

    def shown(session: int, *identities: int) -> tuple[int, int] | None:
        everybody = [replace(person, labels=PersonLabels(identity, 1.0, {})) for identity in identities]
        sender.frame_published(session, frame_record(0), everybody)
        return None if sender._followed is None else sender._followed.who

    (person, *_) = people()
    assert shown(1) is None
    sender.send()
    assert [values for address, values in received(listener) if address.endswith("OK")] == [(0,)]
    assert shown(1, 5, 6) == (1, 5)
    assert shown(1, 6, 5) == shown(2, 9) == (1, 5)
    now_s = 1.9
    assert shown(1, 6) == (1, 5)
    now_s = 2.1
    assert shown(1, 6) == (1, 6)
    sender.session_ended(2)
    assert sender._followed and sender._followed.who == (1, 6)
    sender.session_ended(1)
    sender.send()
    sender.close()
    assert not bones_in(received(listener))


def test_skeleton_that_is_none_of_a_humanoid() -> None:
    with pytest.raises(ValueError, match="the skeleton has no"):
        MotionSender([], SKELETON)


def test_each_expression_follows_what_labels_say() -> None:
    """Of every entry of the labels of faces, large and small, and of pairs of them."""
    space, entries = ExpressionSpace.load(), ENTRIES.stop - ENTRIES.start
    axes = 3.0 * torch.cat([torch.eye(entries), -torch.eye(entries)])  # standard deviations
    labels = torch.zeros(len(axes) ** 2, LABEL_SIZE)
    labels[:, ENTRIES] = (axes[:, None] + axes).reshape(-1, entries)
    shown = [expressions(row) for row in space.activations(labels).numpy()]
    largest = {name: max(row[name] for row in shown) for name in shown[0] if name not in PERFECT_SYNC}
    assert len(largest) == 14
    assert {name for name, most in largest.items() if most < 0.2} == set()
    values = np.array([list(row.values()) for row in shown])
    assert values.min() >= 0 and values.max() <= 1


def test_both_lids_follow_their_eyes_alone_and_together() -> None:
    for left, right in ((1.0, 1.0), (0.5, 0.5), (1.0, 0.0), (0.0, 0.75)):
        shown = expressions(activations({"eyeBlinkLeft": left, "eyeBlinkRight": right})[0].numpy())
        assert (shown["Blink_L"], shown["Blink_R"]) == (left, right)
