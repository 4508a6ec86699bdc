"""What deploy/ says to container engines: their own checkers take it, and the node takes the configuration that results.

No engine runs here, so no image is built: hadolint reads the Containerfile, and what it does is done by tests/contracts/test_release.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.analysed import settings_in
from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.domain.study import StudyState
from triage_node.evaluation import release
from triage_node.evaluation.generated import ROOT
from triage_node.processes.operations.metrics import exposition
from triage_node.processes.running import now
from triage_node.processes.supervisor import ROLES
from triage_node.store.engine import open_store

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
IMAGE = {"TRIAGE_IMAGE": "triage-node@sha256:" + "0" * 64}


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    return subprocess.run(command, cwd=DEPLOY, env=os.environ | environment, capture_output=True, text=True)


def compose(**environment: str) -> subprocess.CompletedProcess[str]:
    return run("docker-compose", "-f", "compose.yaml", "--profile", "*", "config", "--format", "json", **environment)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    done = compose(**IMAGE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


@pytest.fixture(scope="module")
def resources() -> dict[tuple[str, str], Any]:
    """(kind, name) -> resource, of every file in deploy/kubernetes."""
    documents = [d for file in sorted(KUBERNETES.glob("*.yaml")) for d in yaml.safe_load_all(file.read_text("utf-8"))]
    items = [item for document in documents for item in document.get("items", [document])]
    return {(item["kind"], item["metadata"]["name"]): item for item in items}


def test_hadolint_finds_nothing_in_the_containerfile_and_no_file_comes_without_its_hash():
    done = run("hadolint", "Containerfile")
    assert (done.returncode, done.stdout) == (0, "")
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert {*release.INSTALL, *release.COMPILE} <= set(text.split())


def test_hadolint_finds_what_is_wrong(tmp_path):
    (tmp_path / "Containerfile").write_text(
        "FROM python:latest\nRUN cd /tmp && sudo apt-get install x\n", encoding="utf-8"
    )
    assert run("hadolint", str(tmp_path / "Containerfile")).returncode == 1


def test_compose_takes_the_file_only_with_an_image_that_somebody_named():
    done = compose(TRIAGE_IMAGE="")
    assert done.returncode != 0
    assert "by digest" in done.stderr


def test_compose_runs_every_role_locked_down_after_the_store_was_prepared(services):
    assert set(services) == {"database", "prepare", *ROLES}
    for role in ROLES:
        service = services[role]
        assert service["command"] == [f"triage_node.processes.{role}"]
        assert (service["user"], service["read_only"], service["cap_drop"]) == ("10001:10001", True, ["ALL"])
        assert service["depends_on"]["prepare"]["condition"] == "service_completed_successfully"


def test_the_node_takes_the_configuration_of_compose(services, tmp_path):
    given = services["ingest"]["environment"]
    settings, origins = load(DEPLOY / "triage-node.toml", given)
    assert str(settings.store.database_url_file) == "/run/secrets/database_url"
    assert {key for key, origin in origins.items() if origin.startswith("environment")} == {
        "store.database_url_file",
        "store.data_folder",
        "listener.host",
        "web.host",
    }
    assert settings.store.data_folder == Path(services["ingest"]["volumes"][0]["target"])


def test_the_api_of_kubernetes_takes_every_resource(resources):
    for resource in resources.values():
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def test_the_api_of_kubernetes_refuses_a_word_that_it_does_not_know(resources):
    wrong = json.loads(json.dumps(resources["Deployment", "triage-node-analysis"]))
    wrong["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_every_role_runs_on_the_cluster_locked_down(resources):
    pods = {
        name: r["spec"]["template"]["spec"] for (_, name), r in resources.items() if "template" in r.get("spec", {})
    }
    assert set(pods) == {f"triage-node-{role}" for role in (*ROLES, "prepare")}
    for name, pod in pods.items():
        role = name.removeprefix("triage-node-")
        (container,) = pod["containers"]
        assert container.get("args") == ["init"] or container["command"][-1] == f"triage_node.processes.{role}"
        assert pod["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"]["readOnlyRootFilesystem"]
        named = {v["name"] for v in pod["volumes"]} | ({"data"} if role == "ingest" else set())
        assert {m["name"] for m in container["volumeMounts"]} == named


def test_the_node_takes_the_configuration_of_the_cluster(resources):
    told = Settings.model_validate(tomllib.loads(resources["ConfigMap", "triage-node"]["data"]["triage-node.toml"]))
    assert told.store.blob_url.startswith("s3://")
    assert {told.store.database_url_file.parent, told.store.blob_credentials_file.parent} == {
        Path("/run/secrets/triage-node")
    }


def test_analysis_scales_on_a_figure_that_the_node_tells(resources, tmp_path):
    scaler = resources["HorizontalPodAutoscaler", "triage-node-analysis"]["spec"]
    assert ("Deployment", scaler["scaleTargetRef"]["name"]) in resources
    metric = scaler["metrics"][0]["external"]["metric"]
    (match,) = metric["selector"]["matchExpressions"]
    settings = settings_in(tmp_path)
    with closing(open_store(settings.database_url)) as store:
        told = exposition(store, settings, now()).decode()
    assert match["values"] == [StudyState.COMPLETE, StudyState.ANALYSING]
    assert all(f'{metric["name"]}{{{match["key"]}="{state}"}} ' in told for state in match["values"])
