"""The compose file of a pool: who reaches whom, and what the services run."""

import re
from typing import Any

import yaml

from common.io.addresses import Address
from common.io.configuration import read_config
from receiver.__main__ import PROGRAM
from receiver.config import ReceiverConfig
from sender.__main__ import PROGRAM as SENDER
from sender.config import SenderConfig
from tests.deploy.queries import DEPLOY
from tests.deploy.test_compose_files import ONE_SHOT, needs_compose, services

FRONTS, WORKERS = {"front-1", "front-2"}, {"worker-1", "worker-2"}
NODES = {"head", *FRONTS, *WORKERS}
METRICS_PORTS = {"sender": 9101, "receiver": 9102, "ray": 8090}

pytestmark = needs_compose


def found() -> dict[str, Any]:
    return services("pool")


def argument(command: list[str], flag: str) -> str:
    return next(part.removeprefix(f"{flag}=") for part in command if part.startswith(f"{flag}="))


def test_pool_has_a_head_two_workers_and_two_fronts() -> None:
    assert found().keys() == {ONE_SHOT, "sender", "prometheus", "grafana", *NODES}


def test_nobody_but_nodes_and_prometheus_reaches_ray() -> None:
    inside = {name for name, service in found().items() if "pool" in service.get("networks", {})}
    assert inside == {*NODES, "prometheus"}
    document = yaml.safe_load((DEPLOY / "compose.pool.yaml").read_text(encoding="utf-8"))
    assert document["networks"]["pool"] == document["networks"]["link"] == {"internal": True}
    published = {name for name, service in found().items() if service.get("ports")}
    assert published == {"prometheus", "grafana"}


def test_fronts_are_receivers_of_the_pool_that_share_sessions() -> None:
    for name in FRONTS:
        service = found()[name]
        assert service["entrypoint"] == ["sh", "/srv/scripts/join.sh", "head:6379"]
        program, *flags = service["command"]
        config = read_config(ReceiverConfig, PROGRAM, flags, {})
        assert (program, str(config.engine.address), config.engine.replicas) == ("receiver", "head:6379", 2)
        assert "--share-sessions" in flags
        assert "meshes:/srv/out:rw" in service["volumes"]
        assert service["environment"]["BODYWIRE_RECEIVER_OUT"] == f"/srv/out/{name}"


def test_workers_offer_the_cores_that_the_replicas_need() -> None:
    cores = [int(argument(found()[name]["command"], "--num-cpus")) for name in WORKERS]
    assert cores == [found()[name]["cpus"] for name in WORKERS]
    assert sum(cores) >= 2
    assert argument(found()["head"]["command"], "--num-cpus") == "0"
    assert "--num-cpus=0" in (DEPLOY / "pool" / "join.sh").read_text(encoding="utf-8")


def test_sender_knows_both_fronts_by_names_of_their_certificate() -> None:
    command = found()["sender"]["command"]
    read_config(SenderConfig, SENDER, command, {})
    peers = [Address.parse(peer) for peer in argument(command, "--peer").split(",")]
    assert {peer.host for peer in peers} == FRONTS
    assert {peer.port for peer in peers} == {50051}
    assert set(found()[ONE_SHOT]["environment"]["RECEIVER_HOSTS"].split()) == FRONTS
    assert list(found()["sender"]["networks"]) == ["link"]


def test_prometheus_scrapes_every_exporter() -> None:
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "pool.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = {job["job_name"]: set(job["static_configs"][0]["targets"]) for job in jobs}
    expected = {"sender": {"sender"}, "receiver": FRONTS, "ray": NODES}
    assert targets == {job: {f"{name}:{METRICS_PORTS[job]}" for name in names} for job, names in expected.items()}
    for name in FRONTS:
        assert "--metrics=0.0.0.0:9102" in found()[name]["command"]
    for name in {"head", *WORKERS}:
        assert argument(found()[name]["command"], "--metrics-export-port") == "8090"
    assert "--metrics-export-port=8090" in (DEPLOY / "pool" / "join.sh").read_text(encoding="utf-8")


def test_image_of_the_pool_has_ray_and_its_scripts() -> None:
    for name in {ONE_SHOT, "sender", *NODES}:
        assert "ray" in found()[name]["build"]["args"]["EXTRAS"].split(",")
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^COPY .*deploy/pool /srv/scripts/$", dockerfile, flags=re.MULTILINE)
    assert "!deploy/pool" in (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
