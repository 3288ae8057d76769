"""The files of docs/containers.md: compose and Kubernetes take them, and their arguments are those of agentctl."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from agentctl.core.version import __version__
from tests.support.command_parser import parse_command
from tests.support.docs_blocks import ROOT, blocks

PAGE = [block for block in blocks("yml") if block.page == "docs/containers.md"]
(COMPOSE,) = (block for block in PAGE if block.text.startswith("services:"))
MANIFESTS: list[dict[str, Any]] = [
    document for block in PAGE if block is not COMPOSE for document in yaml.safe_load_all(block.text)
]
KUBERNETES = Registry().with_resource(
    "kubernetes", DRAFT202012.create_resource(json.loads((ROOT / "tests/support/kubernetes.json").read_text()))
)


def errors(manifest: dict[str, Any]) -> list[str]:
    """Return what Kubernetes would refuse."""
    schema = {"$ref": f"kubernetes#/$defs/{manifest['kind']}"}
    found = Draft202012Validator(schema, registry=KUBERNETES).iter_errors(manifest)
    return [f"{error.json_path}: {error.message}" for error in found]


def job() -> dict[str, Any]:
    """Return the pod of the CronJob."""
    (found,) = (one for one in MANIFESTS if one["kind"] == "CronJob")
    pod: dict[str, Any] = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_kubernetes_takes_the_manifests(manifest: dict[str, Any]) -> None:
    assert errors(manifest) == []


def test_a_wrong_field_deep_in_a_manifest_is_found() -> None:
    (found,) = (json.loads(json.dumps(one)) for one in MANIFESTS if one["kind"] == "CronJob")
    container = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"]["readOnlyRootFileSystem"] = True
    container["args"].append(0.5)
    assert len(errors(found)) == 2


def test_the_pod_is_hardened_and_its_volumes_exist() -> None:
    pod = job()
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (claimed,) = (
        volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if volume["name"] == "state"
    )
    assert claimed in {one["metadata"]["name"] for one in MANIFESTS if one["kind"] == "PersistentVolumeClaim"}


def test_the_arguments_are_those_of_agentctl() -> None:
    (container,) = job()["containers"]
    service = yaml.safe_load(COMPOSE.text)["services"]["agent"]
    for words in (container["args"], shlex.split(service["command"])):
        assert all(isinstance(word, str) for word in words)
        given = parse_command(words)
        assert given["read_only"] is True
        assert given["max_cost_per_task"] is not None


@pytest.mark.needs("docker-compose")
def test_docker_compose_takes_the_file(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(COMPOSE.text)
    line = ["docker-compose", "-f", "compose.yml", "config"]
    environ = {**os.environ, "OPENAI_API_KEY": "sk-compose"}
    done = subprocess.run(line, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    service = yaml.safe_load(done.stdout)["services"]["agent"]
    assert service["environment"] == {"LLM_PROVIDER": "openai", "OPENAI_API_KEY": "sk-compose"}
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_the_dockerfile_names_our_version_and_no_host() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert f"ARG VERSION={__version__}" in lines
    assert [line for line in lines if "://" in line] == []
