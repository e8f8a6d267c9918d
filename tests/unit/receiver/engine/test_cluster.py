"""What can be said about a cluster without one: missing packages, small machines, causes of failures."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import PeerError, UsageError
from common.weights.threads import available_cores
from receiver.config import EngineConfig, SurfaceConfig
from receiver.engine.cluster import _cause, open_pool, require_ray
from receiver.engine.replica import ReplicaSettings

SETTINGS = ReplicaSettings(SurfaceConfig(), "cpu", threads=1)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'bodywire\[ray\]'"):
        require_ray()


def test_replicas_that_the_machine_cannot_hold() -> None:
    cores = available_cores()
    config = EngineConfig(engine="ray", replicas=f"1-{cores + 1}")
    with pytest.raises(UsageError, match=f"this machine has {cores}"), open_pool(config, SETTINGS):
        pass


def test_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.engine.cluster.require_ray", lambda: None)
    config = EngineConfig(engine="ray:nowhere.invalid:6379", replicas="100")
    with (
        pytest.raises(PeerError, match=r"no Ray cluster answers at nowhere\.invalid:6379"),
        open_pool(config, SETTINGS),
    ):
        pass


def test_own_cluster_is_for_this_user_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: dict[str, Any] = {}

    def init(**arguments: Any) -> None:
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        started.update(arguments, token=token, modes=[path.stat().st_mode & 0o777 for path in (token, token.parent)])
        raise RuntimeError("no cluster in this test")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    # Restored at the end: the function under test sets them.
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr("receiver.engine.cluster.require_ray", lambda: SimpleNamespace(init=init))
    with pytest.raises(PeerError, match="no cluster in this test"), open_pool(EngineConfig(engine="ray"), SETTINGS):
        pass
    assert started["_node_ip_address"] == "127.0.0.1" and started["include_dashboard"] is False
    assert os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN" not in os.environ
    assert Path(started["_temp_dir"]).parent == started["token"].parent
    assert started["modes"] == [0o600, 0o700]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("", ""),
        ("Deployment 'people' has 2 replicas that wait.", "Deployment 'people' has 2 replicas that wait."),
        (
            "The deployment failed:\n  File 'x.py', line 3\n    ^^^^\ncommon.errors.WeightsError: no weights\n\n",
            "common.errors.WeightsError: no weights",
        ),
        (
            "ModuleNotFoundError: No module named 'receiver'\nRetrying 2 more times",
            "ModuleNotFoundError: No module named 'receiver'",
        ),
    ],
)
def test_cause_is_the_error_of_a_traceback(message: str, cause: str) -> None:
    assert _cause(message) == cause
