import socket
import sys
from types import SimpleNamespace

import pytest

from common.errors import PeerError, UsageError
from common.weights.config import DeviceConfig
from receiver.doctor.engine import check_engine
from receiver.engine.pool.config import EngineConfig

AUTO = DeviceConfig()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.doctor.engine.require_ray", lambda: SimpleNamespace(__version__="2.60.0"))


def test_local_engine_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert check_engine(EngineConfig(), AUTO).found == "this process"


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="pip install"):
        check_engine(EngineConfig("ray"), AUTO)


def test_pool_on_this_machine(ray: None) -> None:
    assert check_engine(EngineConfig("ray"), AUTO).found == "Ray 2.60.0 on this machine, 1 replicas at most"
    with pytest.raises(UsageError, match="this machine has"):
        check_engine(EngineConfig("ray", replicas=100_000), AUTO)
    with pytest.raises(UsageError, match="--replica-gpus"):
        check_engine(EngineConfig("ray"), DeviceConfig("cuda"))


def test_cluster_is_reached_or_not(ray: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        config = EngineConfig(f"ray:127.0.0.1:{head.getsockname()[1]}")
        assert f"a cluster answers at {config.address}" in check_engine(config, AUTO).found
    with pytest.raises(PeerError, match="no Ray cluster answers"):
        check_engine(config, AUTO)
