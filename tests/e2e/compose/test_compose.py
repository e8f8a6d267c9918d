"""The services of deploy/compose.yaml with their own commands, in network namespaces: two nodes and the bad link."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.netlab import compose_nodes
from tests.netlab.compose_nodes import ROOT, ComposeNodes, read_services
from tests.support.processes.demo_clip import looped_clip

SERVICES = ("certificates", "receiver", "relay", "sender")
MESHES = 6
# Of the clip: estimates need some seconds to follow the link.
REPETITIONS = 6
# The relay carries 48 kbit/s at first, then a third; estimates scatter by a factor of two on a busy machine.
THROTTLED, THROTTLED_LIMIT_BPS, OPEN_LIMIT_BPS = "16kbit", 24e3, 30e3
TIMEOUT_S = 120.0
ASK_THE_PAGE = (
    "import ssl, urllib.request as ask; context = ssl.create_default_context(cafile='/srv/keys/receiver/ca.pem'); "
    "print(ask.urlopen('https://localhost:8080/api/status', context=context).read().decode())"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not compose_nodes.allowed(), reason="network namespaces and mounts need root"),
    pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed"),
]


@contextmanager
def running_nodes(folder: Path) -> Iterator[ComposeNodes]:
    """The services, none started."""
    folder.chmod(0o755)
    (folder / "clip").mkdir(mode=0o755)
    looped_clip(folder / "clip" / "long.mp4", REPETITIONS)
    services = {
        name: service
        for name, service in read_services({"BODYWIRE_CAMERA": "/srv/clip/long.mp4"}).items()
        if name in SERVICES
    }
    images = {
        "/srv/scripts": ROOT / "deploy" / "certs",
        "/srv/relay": ROOT / "deploy" / "relay",
        "/srv/clip": folder / "clip",
    }
    with ComposeNodes(services, folder, images) as nodes:
        yield nodes


def capacity_bps(nodes: ComposeNodes) -> float:
    """The sender's estimate of the link; 0 before it has one."""
    with suppress(OSError):
        found = re.search(
            r"^bodywire_sender_capacity_bytes_per_second (\S+)$", nodes.get("sender", 9101, "/metrics"), re.M
        )
        return 8 * float(found[1]) if found else 0.0
    return 0.0


def wait(condition: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < until_s, what
        time.sleep(0.2)


def published(nodes: ComposeNodes) -> int:
    lines = nodes.volume("meshes") / "frames.jsonl"
    return lines.read_text().count("\n") if lines.exists() else 0


def test_meshes_arrive_on_the_other_node_through_the_throttled_link(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        certificates = nodes.start("certificates")
        output, _ = certificates.communicate(timeout=30)
        assert certificates.returncode == 0, output
        receiver, relay = nodes.start("receiver"), nodes.start("relay")
        assert receiver.stdout is not None
        assert relay.stdout is not None
        # On a new machine networks are compiled first, and the log says so.
        line = next((line for line in receiver.stdout if not line.startswith("{")), "")
        if "(encrypted)" not in line:
            receiver.kill()
            pytest.fail(line + receiver.stdout.read())
        assert "48 kbit/s" in relay.stdout.readline()
        assert nodes.healthy("receiver")
        assert nodes.healthy("relay")
        # The page opens after the link.
        wait(lambda: nodes.exec("receiver", "python", "-c", ASK_THE_PAGE).returncode == 0, "the page does not open")
        page = nodes.exec("receiver", "python", "-c", ASK_THE_PAGE)
        assert json.loads(page.stdout)["live"] is False, "strangers may watch"
        sender = nodes.start("sender")
        wait(lambda: published(nodes) >= MESHES or sender.poll() is not None, "no frame was published")
        wait(lambda: capacity_bps(nodes) > OPEN_LIMIT_BPS, "the capacity estimate does not reach the relay's rate")
        throttled = nodes.exec("relay", "rate", THROTTLED)
        assert throttled.stdout.strip() == "16 kbit/s in each direction, delay 20 ms"
        wait(lambda: 0 < capacity_bps(nodes) < THROTTLED_LIMIT_BPS, "the capacity estimate does not follow the relay")
        sender.terminate()
        output, _ = sender.communicate(timeout=30)
        assert sender.returncode == 0, output
        receiver.terminate()
        output, _ = receiver.communicate(timeout=30)
        assert receiver.returncode == 0, output
        check_output(nodes.volume("meshes"))
        check_rights(nodes, tmp_path)


def check_output(out: Path) -> None:
    """Every published frame has its meshes."""
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    meshes = [person["surface"] for line in lines for person in line["people"]]
    assert len(meshes) >= MESHES
    assert all((out / path).read_bytes()[:4] == b"glTF" for path in meshes)


def check_rights(nodes: ComposeNodes, folder: Path) -> None:
    """No node has the authority's key, and nothing belongs to root."""
    keys = {
        name: sorted(path.name for path in nodes.volume(f"{name}-keys").iterdir()) for name in ("receiver", "sender")
    }
    assert keys == {name: ["ca.pem", f"{name}.key", f"{name}.pem"] for name in ("receiver", "sender")}
    assert (nodes.volume("authority") / "ca.key").exists()
    owners = {
        path.stat().st_uid for name in ("authority", "receiver-keys", "meshes") for path in (folder / name).rglob("*")
    }
    assert owners == {10001}
    private = [path for path in folder.rglob("*.key") if path.stat().st_mode & 0o077]
    assert private == []


def test_certificates_are_kept_until_they_expire(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        outputs = []
        for _ in range(2):
            service = nodes.start("certificates")
            outputs.append(service.communicate(timeout=30)[0])
            assert service.returncode == 0, outputs[-1]
        first = (nodes.volume("sender-keys") / "sender.pem").read_bytes()
        assert "wrote" not in outputs[1]
        (nodes.volume("receiver-keys") / "receiver.pem").unlink()
        service = nodes.start("certificates")
        assert "receiver.pem" in service.communicate(timeout=30)[0]
        assert (nodes.volume("receiver-keys") / "receiver.pem").exists()
        assert (nodes.volume("sender-keys") / "sender.pem").read_bytes() == first
