"""The Kubernetes manifests are valid, and name what there really is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api import create_app
from darkroom.cli import commands
from darkroom.configuration import FIELDS
from darkroom.settings import PREFIX, Settings, settings_table

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy/kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))

#: Resources of Kubernetes' own API, which the schemas know.
CORE = {"v1", "apps/v1", "policy/v1", "autoscaling/v2"}

#: What the object store's library reads by itself.
FOREIGN = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}


#: Every resource, by the name of its file.
RESOURCES = [
    (file.stem, resource) for file in FILES for resource in yaml.safe_load_all(file.read_text())
]


def containers(kind: str = "containers") -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every container with its pod."""
    for _, resource in RESOURCES:
        if resource["kind"] == "Deployment":
            pod = resource["spec"]["template"]["spec"]
            for container in pod.get(kind, []):
                yield container, pod


@pytest.mark.parametrize(
    "resource",
    [each for _, each in RESOURCES],
    ids=[f"{file}-{each['kind']}" for file, each in RESOURCES],
)
def test_every_resource_follows_its_schema(resource: dict[str, Any]) -> None:
    if resource["apiVersion"] in CORE:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
    else:
        assert resource["kind"] in ("Kustomization", "ScaledObject")


def test_every_container_runs_a_command_of_ours() -> None:
    for container, _ in (*containers(), *containers("initContainers")):
        name, *arguments = container["args"]
        # Parsed as at a start, and not carried out.
        commands.commands[name].make_context(name, arguments)


def test_a_pod_may_stop_for_longer_than_its_jobs() -> None:
    [stop_s] = [each for each in literals() if each[0] == "DARKROOM_STOP_S"]

    for container, pod in containers():
        hook = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] > int(stop_s[1]) + hook


def test_probes_ask_what_the_api_answers(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, secret_key="x" * 32, redis_url="redis://127.0.0.1:1")
    known = {str(each) for each in create_app(settings).url_map.iter_rules()}

    probes = [
        (probe["httpGet"], container)
        for container, _ in containers()
        for name, probe in container.items()
        if name.endswith("Probe")
    ]

    assert len(probes) == 3
    for get, container in probes:
        assert get["path"] in known
        assert get["port"] in [each["name"] for each in container["ports"]]


def test_prometheus_can_read_what_every_pod_counts() -> None:
    for container, _ in containers():
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        own = {each["name"]: each["value"] for each in container.get("env", [])}
        if container["args"][0] == "worker":
            assert own["DARKROOM_METRICS_PORT"] == str(ports["metrics"])
            assert own["DARKROOM_METRICS_HOST"] == "0.0.0.0"
        else:
            assert set(ports) == {"http"}


def test_no_service_sets_a_variable_of_ours() -> None:
    """Kubernetes would set DARKROOM_PORT to the address of the service `darkroom`."""
    pods = [pod for _, pod in containers()]

    assert pods
    assert [pod.get("enableServiceLinks") for pod in pods] == [False] * len(pods)


def test_applying_again_does_not_undo_what_an_autoscaler_said() -> None:
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for _, each in RESOURCES
        if "scaleTargetRef" in each.get("spec", {})
    }

    assert len(scaled) == 2
    for _, each in RESOURCES:
        if each["kind"] == "Deployment" and each["metadata"]["name"] in scaled:
            assert "replicas" not in each["spec"]


def test_every_variable_is_a_setting() -> None:
    secrets = (FOLDER / "secrets.env.example").read_text().splitlines()
    names = {name for name, _ in literals()} | {line.split("=")[0] for line in secrets}
    engines = {name for each in FIELDS for name in (each.name, *each.fallbacks)}

    ours = {name for name in names if name.startswith(PREFIX)}
    assert all(f"`{name}`" in settings_table() for name in ours)
    assert names - ours - FOREIGN <= engines


def test_nothing_runs_as_root_or_writes_outside_of_its_mounts() -> None:
    for container, pod in (*containers(), *containers("initContainers")):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {each["mountPath"] for each in container["volumeMounts"]} == {"/data", "/tmp"}  # noqa: S108


def literals() -> list[tuple[str, str]]:
    """The settings that the kustomization makes a ConfigMap of."""
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    [generator] = kustomization["configMapGenerator"]
    return [tuple(each.split("=", 1)) for each in generator["literals"]]
