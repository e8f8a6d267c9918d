"""The Kubernetes manifests: valid, hardened, and in agreement with each other and with the receiver."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from common.io.configuration import read_config
from receiver.__main__ import PROGRAM
from receiver.config import ReceiverConfig
from tests.deploy.kubernetes_manifests import (
    FOLDER,
    Manifest,
    kustomization,
    manifest,
    manifests,
    pods,
    validate,
)

# The package opens its files by the old interface of importlib.resources.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
RAY_PORTS = {6379, 8265, 10001, 52365}


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for component, template in pods().items():
        for container in template["spec"]["containers"]:
            yield component, container
    yield "autoscaler", manifest("RayCluster", "pool")["spec"]["autoscalerOptions"]


def policies(kind: str) -> Iterator[dict[str, Any]]:
    return (each["spec"] for each in manifests() if each["kind"] == kind)


def test_kustomization_lists_every_file() -> None:
    assert sorted([*kustomization()["resources"], "kustomization.yaml"]) == sorted(
        path.name for path in FOLDER.iterdir()
    )
    assert kustomization()["namespace"] == manifest("Namespace", "bodywire")["metadata"]["name"]


def test_manifests_fit_their_schemas() -> None:
    for document in manifests():
        validate(document)


def head(document: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"]["headGroupSpec"]
    return found


def pod(document: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"]["template"]["spec"]
    return found


def test_wrong_fields_do_not_fit() -> None:
    spoilt: tuple[tuple[str, str, Callable[[Manifest], object]], ...] = (
        ("StatefulSet", "fronts", lambda d: d["spec"].update(replica=2)),
        ("StatefulSet", "fronts", lambda d: d["spec"].pop("selector")),
        ("StatefulSet", "fronts", lambda d: pod(d)["containers"][0]["readinessProbe"].update(grcp={"port": 1})),
        ("NetworkPolicy", "link-and-web", lambda d: d["spec"]["ingress"][0]["ports"][0].update(ports=1)),
        ("RayCluster", "pool", lambda d: d["spec"].update(headGroup={})),
        ("RayCluster", "pool", lambda d: head(d)["rayStartParams"].update({"num-cpus": 0})),
        ("RayCluster", "pool", lambda d: head(d)["template"]["spec"]["containers"][0].update(imge="x")),
        ("RayCluster", "pool", lambda d: d["spec"]["workerGroupSpecs"][0].update(minReplicas=-1)),
        ("RayCluster", "pool", lambda d: d["spec"]["autoscalerOptions"]["securityContext"].update(root=False)),
    )
    for kind, name, spoil in spoilt:
        document = manifest(kind, name)
        spoil(document)
        with pytest.raises(jsonschema.ValidationError):
            validate(document)


def test_every_container_is_hardened_and_has_limits() -> None:
    for name, container in containers():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and context["runAsNonRoot"], name
        assert not context["allowPrivilegeEscalation"], name
        assert (context["capabilities"], context["seccompProfile"]) == ({"drop": ["ALL"]}, {"type": "RuntimeDefault"})
        assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys() == {"cpu", "memory"}
    for name, template in pods().items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys(), name
        assert all("hostPath" not in volume for volume in spec["volumes"]), name
        # The head's autoscaler asks the API server; nothing else does.
        assert (name == "head") == spec.get("automountServiceAccountToken", True), name


def test_every_container_has_probes_and_a_place_to_write() -> None:
    for component, container in containers():
        if component != "autoscaler":
            assert {"livenessProbe", "readinessProbe"} <= container.keys(), component
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], component


def test_every_component_has_a_budget_that_covers_it() -> None:
    covered = {
        budget["selector"]["matchLabels"]["app.kubernetes.io/component"] for budget in policies("PodDisruptionBudget")
    }
    assert covered == pods().keys()


def test_front_is_a_node_of_the_pool_and_then_a_receiver() -> None:
    (container,) = pods()["front"]["spec"]["containers"]
    cluster = manifest("RayCluster", "pool")["metadata"]["name"]
    address = f"{cluster}-head-svc:6379"  # KubeRay's name for the head's service
    assert container["command"] == ["sh", "/srv/scripts/join.sh", address]
    program, *flags = container["args"]
    config = read_config(ReceiverConfig, PROGRAM, flags, {})
    assert (program, str(config.engine.address)) == ("receiver", address)
    assert config.publish.out == Path("/srv/out/$(POD_NAME)")
    assert "--share-sessions" in flags
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (config.listen.listen.port, config.metrics.metrics.port) == (ports["link"], ports["receiver"])  # type: ignore[union-attr]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pods()["front"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert claims == ["meshes"]
    assert manifest("PersistentVolumeClaim", "meshes")["spec"]["accessModes"] == ["ReadWriteMany"]


def test_grown_pool_fits_on_the_most_workers() -> None:
    (container,) = pods()["front"]["spec"]["containers"]
    config = read_config(ReceiverConfig, PROGRAM, container["args"][1:], {}).engine
    (group,) = manifest("RayCluster", "pool")["spec"]["workerGroupSpecs"]
    cores = int(group["rayStartParams"]["num-cpus"])
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == str(cores)
    assert config.most_replicas * config.replica_cpus == group["maxReplicas"] * cores
    assert config.replicas * config.replica_cpus <= group["minReplicas"] * cores


def test_name_of_the_fronts_has_the_addresses_of_all() -> None:
    service = manifest("Service", "fronts")["spec"]
    assert service["clusterIP"] == "None"
    assert service["selector"].items() <= pods()["front"]["metadata"]["labels"].items()
    assert manifest("Service", "fronts-external")["spec"]["externalTrafficPolicy"] == "Local"
    names = {port["name"] for port in pods()["front"]["spec"]["containers"][0]["ports"]}
    for name in ("fronts", "fronts-external"):
        assert {port["targetPort"] for port in manifest("Service", name)["spec"]["ports"]} <= names


def test_ports_of_ray_are_open_to_nodes_of_the_cluster_alone() -> None:
    assert manifest("NetworkPolicy", "nothing-else")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    nodes = manifest("NetworkPolicy", "ray-nodes")["spec"]
    assert nodes["ingress"] == [{"from": [{"podSelector": nodes["podSelector"]}]}]
    assert set(nodes["podSelector"]["matchExpressions"][1]["values"]) == pods().keys()
    open_to_all = set()
    for spec in policies("NetworkPolicy"):
        for rule in spec.get("ingress", ()):
            if "from" not in rule:
                open_to_all |= {port["port"] for port in rule["ports"]}
    assert open_to_all == {50051, 8080}
    assert not open_to_all & RAY_PORTS


def test_metrics_are_open_to_prometheus_alone() -> None:
    (rule,) = manifest("NetworkPolicy", "metrics")["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer.keys() == {"namespaceSelector", "podSelector"}
    exported = {
        port["containerPort"]
        for template in pods().values()
        for port in template["spec"]["containers"][0]["ports"]
        if port["name"] in ("metrics", "receiver")
    }
    assert {port["port"] for port in rule["ports"]} == exported


def test_all_pods_run_the_same_image_and_the_same_ray() -> None:
    images = {template["spec"]["containers"][0]["image"] for template in pods().values()}
    (image,) = images
    name, _, tag = image.partition(":")
    assert kustomization()["images"] == [{"name": name, "newTag": tag}]
    required = re.search(r"ray\[serve\]>=(\d+\.\d+)", (FOLDER.parents[1] / "pyproject.toml").read_text())
    assert required is not None
    assert manifest("RayCluster", "pool")["spec"]["rayVersion"].startswith(f"{required[1]}.")
