"""The services of deploy/compose.pool.yaml in network namespaces: Ray's head, a worker, the receiver, and a sender."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec

import pytest

from tests.deploy.queries import dashboard_queries, ray_metric_names, rules
from tests.netlab import compose_nodes
from tests.netlab.compose_nodes import ROOT, ComposeNodes, read_services

pytestmark = [
    pytest.mark.slow,
    # Not imported here: Ray reads once in a process whether its clusters have a token.
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray"),
    pytest.mark.skipif(not compose_nodes.allowed(), reason="network namespaces and mounts need root"),
    pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed"),
]

# One replica: two would need more memory than a small machine has.
SERVICES = ("certificates", "head", "worker-1", "receiver", "sender")
RAY_NODES = ("head", "worker-1", "receiver")
FRAMES = 8
TIMEOUT_S = 240.0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeNodes]:
    """All services, started in the order in which they depend on each other."""
    folder = tmp_path_factory.mktemp("pool")
    folder.chmod(0o755)
    scripts = folder / "scripts"
    scripts.mkdir(mode=0o755)
    for path in (*(ROOT / "deploy" / "certs").glob("*.sh"), *(ROOT / "deploy" / "pool").glob("*.sh")):
        shutil.copy(path, scripts)
    found = read_services({"REPLICAS": "1"}, ROOT / "deploy" / "compose.pool.yaml")
    services = {name: found[name] for name in SERVICES}
    with ComposeNodes(services, folder, {"/srv/scripts": scripts}, own_processes=True) as running:
        certificates = running.start("certificates")
        assert certificates.wait(TIMEOUT_S) == 0
        for name in RAY_NODES:
            process = running.start(name)
            wait(lambda name=name: running.healthy(name), f"{name} is not healthy")  # type: ignore[misc]
            assert process.poll() is None, name
        running.start("sender")
        yield running


def wait(condition: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < until_s, what
        time.sleep(0.5)


def exported(nodes: ComposeNodes, name: str, port: int) -> str:
    """What an exporter says; nothing while it does not answer."""
    with suppress(OSError):
        return nodes.get(name, port, "/metrics")
    return ""


def test_sender_is_reconstructed_by_the_worker(nodes: ComposeNodes) -> None:
    lines = nodes.volume("meshes") / "frames.jsonl"
    wait(lambda: lines.exists() and lines.read_text().count("\n") >= FRAMES, "no frames are published")
    metrics = exported(nodes, "receiver", 9102)
    assert 'bodywire_receiver_engine{kind="ray"} 1.0' in metrics
    served = re.search(r"^bodywire_receiver_engine_service_seconds_count (\S+)$", metrics, re.M)
    assert served is not None
    assert float(served[1]) >= FRAMES


def test_ray_exports_every_metric_that_dashboards_and_alerts_read(nodes: ComposeNodes) -> None:
    expressions = [expression for _, expression in dashboard_queries()] + [rule["expr"] for rule in rules()]
    read = {name for expression in expressions for name in ray_metric_names(expression)}
    assert len(read) > 10
    found: dict[str, set[str]] = {}

    def missing() -> set[str]:
        for name in RAY_NODES:
            found.setdefault(name, set()).update(re.findall(r"^(ray_\w+)[{ ]", exported(nodes, name, 8090), re.M))
        return read - set().union(*found.values())

    wait(lambda: not missing(), f"Ray does not export some of {sorted(read)}")
    assert all(found.values()), "a node exports nothing"


def test_kept_metrics_include_those_that_are_read() -> None:
    kept = re.search(r"regex: (ray_serve\S+)", (ROOT / "deploy" / "prometheus" / "pool.yml").read_text())
    assert kept is not None
    for _, expression in dashboard_queries():
        for name in ray_metric_names(expression):
            assert re.fullmatch(kept[1], name), name


def test_no_file_of_the_pool_belongs_to_root(nodes: ComposeNodes) -> None:
    owners = {path.stat().st_uid for path in nodes.volume("meshes").rglob("*")}
    assert owners == {10001}
