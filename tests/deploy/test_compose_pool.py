"""The compose file of a pool: who reaches whom, and what the services run."""

from pathlib import Path
from typing import Any

import yaml

from common.io.command_line import read_config
from receiver.__main__ import PROGRAM
from receiver.config import ReceiverConfig
from sender.__main__ import PROGRAM as SENDER
from sender.config import SenderConfig
from tests.deploy.queries import DEPLOY
from tests.deploy.test_compose_files import needs_compose, services

NODES = {"head", "receiver", "worker-1", "worker-2"}

pytestmark = needs_compose


def found() -> dict[str, Any]:
    return services("pool")


def test_nobody_but_nodes_and_prometheus_reaches_ray() -> None:
    inside = {name for name, service in found().items() if "pool" in service.get("networks", {})}
    assert inside == {*NODES, "prometheus"}
    document = yaml.safe_load((DEPLOY / "compose.pool.yaml").read_text(encoding="utf-8"))
    assert document["networks"]["pool"] == document["networks"]["link"] == {"internal": True}
    published = {name for name, service in found().items() if service.get("ports")}
    assert published == {"prometheus", "grafana"}


def test_receiver_hands_its_people_to_the_pool() -> None:
    service = found()["receiver"]
    assert service["entrypoint"] == ["sh", "/srv/scripts/join.sh", "head:6379"]
    program, *flags = service["command"]
    config = read_config(ReceiverConfig, PROGRAM, flags, {})
    assert (program, str(config.engine.address), config.engine.replicas) == ("receiver", "head:6379", "2")
    assert "meshes:/srv/out:rw" in service["volumes"] and config.publish.out == Path("/srv/out")


def test_sender_knows_the_receiver_by_a_name_of_its_certificate() -> None:
    config = read_config(SenderConfig, SENDER, found()["sender"]["command"], {})
    assert str(config.link.peer) == "receiver:50051"
    assert 'hosts="relay receiver localhost' in (DEPLOY / "certs" / "nodes.sh").read_text(encoding="utf-8")
    assert list(found()["sender"]["networks"]) == ["link"]
