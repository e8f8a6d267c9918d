"""The compose file of a pool: who reaches whom, and what the services run."""

from typing import Any

import yaml

from common.io.addresses import Address
from common.io.command_line import read_config
from receiver.__main__ import PROGRAM
from receiver.config import ReceiverConfig
from sender.__main__ import PROGRAM as SENDER
from sender.config import SenderConfig
from tests.deploy.queries import DEPLOY
from tests.deploy.test_compose_files import ONE_SHOT, needs_compose, services

FRONTS, WORKERS = {"front-1", "front-2"}, {"worker-1", "worker-2"}
NODES = {"head", *FRONTS, *WORKERS}

pytestmark = needs_compose


def found() -> dict[str, Any]:
    return services("pool")


def argument(command: list[str], flag: str) -> str:
    return next(part.removeprefix(f"{flag}=") for part in command if part.startswith(f"{flag}="))


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
        assert (program, str(config.engine.address), config.engine.replicas) == ("receiver", "head:6379", "2")
        assert "--share-sessions" in flags
        assert "meshes:/srv/out:rw" in service["volumes"]
        assert service["environment"]["BODYWIRE_RECEIVER_OUT"] == f"/srv/out/{name}"


def test_sender_knows_both_fronts_by_names_of_their_certificate() -> None:
    command = found()["sender"]["command"]
    read_config(SenderConfig, SENDER, command, {})
    peers = [Address.parse(peer) for peer in argument(command, "--peer").split(",")]
    assert {peer.host for peer in peers} == FRONTS
    assert {peer.port for peer in peers} == {50051}
    assert set(found()[ONE_SHOT]["environment"]["RECEIVER_HOSTS"].split()) == FRONTS
    assert list(found()["sender"]["networks"]) == ["link"]
