"""The manifests of deploy/kubernetes, and their validation by schemas of Kubernetes and of KubeRay.

Kubernetes' schemas come with the package `kubernetes-validate`. That of `RayCluster`, `ray_cluster.schema.json`, is
written after KubeRay's API reference: its fields and their types. Kubernetes' schema checks its pod templates.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.deploy.queries import DEPLOY

FOLDER = DEPLOY / "kubernetes"
VERSION = "1.33"
RAY_CLUSTER: Mapping[str, Any] = json.loads(
    (Path(__file__).parent / "ray_cluster.schema.json").read_text(encoding="utf-8")
)

Manifest = dict[str, Any]


def kustomization() -> Manifest:
    """The file that lists the others."""
    found: Manifest = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
    return found


def manifests() -> Iterator[Manifest]:
    """Every object, in the order in which they are applied."""
    for name in kustomization()["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))


def manifest(kind: str, name: str) -> Manifest:
    """One object."""
    (found,) = (each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def pods() -> dict[str, Manifest]:
    """Every pod template, by component."""
    cluster = manifest("RayCluster", "pool")["spec"]
    templates = [
        cluster["headGroupSpec"]["template"],
        *(group["template"] for group in cluster["workerGroupSpecs"]),
        *(each["spec"]["template"] for each in manifests() if each["kind"] == "StatefulSet"),
    ]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template for template in templates}


def validate(document: Manifest) -> None:
    """Checks an object against its schema; a field that the schema does not know is an error.

    Raises:
        jsonschema.ValidationError: it does not fit.
    """
    if document["kind"] != "RayCluster":
        kubernetes_validate.validate(document, VERSION, strict=True)
        return
    jsonschema.Draft202012Validator(RAY_CLUSTER).validate(document)
    spec = document["spec"]
    for group in (spec["headGroupSpec"], *spec.get("workerGroupSpecs", ())):
        _validate_template(group["template"])
    if options := spec.get("autoscalerOptions"):
        of_container = {
            key: options[key] for key in ("env", "resources", "securityContext", "volumeMounts") if key in options
        }
        _validate_template({"spec": {"containers": [{"name": "autoscaler", **of_container}]}})


def _validate_template(template: Manifest) -> None:
    pod_template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "checked"}, "template": template}
    kubernetes_validate.validate(pod_template, VERSION, strict=True)
