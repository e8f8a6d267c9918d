"""The compose files and images: valid, and as restrictive as they claim."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.io.command_line import read_config
from receiver.__main__ import PROGRAM as RECEIVER
from receiver.config import ReceiverConfig
from sender.__main__ import PROGRAM as SENDER
from sender.config import SenderConfig
from tests.deploy.queries import DEPLOY

FILES = {"cpu": ["compose.yaml"], "gpu": ["compose.yaml", "compose.gpu.yaml"], "pool": ["compose.pool.yaml"]}
ONE_SHOT = "certificates"
OURS = ("certificates", "receiver", "sender")
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")

needs_compose = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")


@cache
def services(kind: str, camera: str = "demo") -> dict[str, Any]:
    """The services as docker-compose reads them; it must have nothing to complain about."""
    command = ["docker-compose", *(flag for name in FILES[kind] for flag in ("-f", str(DEPLOY / name))), "config"]
    environment = {**os.environ, "BODYWIRE_CAMERA": camera}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


@needs_compose
@pytest.mark.parametrize("kind", FILES)
def test_every_service_is_hardened_and_checked(kind: str) -> None:
    for name, service in services(kind).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service["user"].startswith("0"), name
        for limit in ("mem_limit", "cpus", "pids_limit"):
            assert service[limit], f"{name}: {limit}"
        assert service["logging"]["options"]["max-size"], name
        assert not service.get("privileged"), name
        # Docker's client hands its own proxies to containers.
        assert {service["environment"][proxy] for proxy in PROXIES} == {""}, name
        assert "/var/run/docker.sock" not in str(service), name
        assert ("healthcheck" in service) == (name != ONE_SHOT), name
        assert (service["restart"] == "no") == (name == ONE_SHOT), name
        assert re.search(r":(v?\d+\.\d+\.\d+|cpu|cuda|pool|1)$", service["image"]), service["image"]
    ports = [port for service in services(kind).values() for port in service.get("ports", ())]
    assert ports and all(str(port).startswith("127.0.0.1:") for port in ports)


@needs_compose
def test_relay_is_the_only_way_between_the_nodes() -> None:
    found = services("cpu")
    between = {
        name for name, service in found.items() if {"sender-side", "receiver-side"} <= set(service.get("networks", {}))
    }
    assert between == {"relay", "prometheus"}  # Prometheus forwards nothing
    assert list(found["sender"]["networks"]) == ["sender-side"]
    assert sorted(found["receiver"]["networks"]) == ["front", "receiver-side"]


@needs_compose
def test_authority_is_mounted_nowhere_else() -> None:
    with_authority = [name for name, service in services("cpu").items() if "authority:" in str(service.get("volumes"))]
    assert with_authority == [ONE_SHOT]
    keys = [
        volume for name in ("sender", "receiver") for volume in services("cpu")[name]["volumes"] if "keys" in volume
    ]
    assert [volume.rpartition(":")[2] for volume in keys] == ["ro", "ro"]


@needs_compose
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_daemons_accept_their_commands(kind: str) -> None:
    found = services(kind, "rtsp://camera/stream")
    sender = read_config(SenderConfig, SENDER, found["sender"]["command"], {})
    assert (sender.capture.only_camera, str(sender.link.peer)) == ("rtsp://camera/stream", "relay:50051")
    receiver = read_config(ReceiverConfig, RECEIVER, found["receiver"]["command"], {})
    assert str(receiver.listen.listen) == "0.0.0.0:50051"


@needs_compose
def test_gpu_file_reserves_a_gpu_and_builds_every_image_with_cuda() -> None:
    found = services("gpu")
    for name in ("receiver", "sender"):
        devices = found[name]["deploy"]["resources"]["reservations"]["devices"]
        assert [(device["driver"], device["capabilities"]) for device in devices] == [("nvidia", ["gpu"])]
    for name in OURS:
        assert found[name]["image"] == "bodywire:cuda"
        assert "/whl/cu" in found[name]["build"]["args"]["TORCH_INDEX"]
        assert "args" not in services("cpu")[name]["build"]


@pytest.mark.parametrize("path", ["Dockerfile", "relay/Dockerfile"])
def test_dockerfile_is_clean(path: str) -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(DEPLOY / path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


SCRIPTS = [*sorted(DEPLOY.rglob("*.sh")), DEPLOY / "relay" / "rate", DEPLOY / "relay" / "delay"]


def test_shell_scripts_parse() -> None:
    checks = [["sh", "-n"]]
    if shutil.which("shellcheck"):
        checks.append(["shellcheck", "--shell=sh", "--severity=warning"])
    for path in SCRIPTS:
        for check in checks:
            done = subprocess.run([*check, str(path)], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), path
