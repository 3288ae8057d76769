"""action.yml has each flag of ``run`` as an input, or says why not; no workflow pastes a value into a script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.workflows.action_inputs import LEFT_OUT, OWN, flags, with_inputs
from tests.support.workflows.machines import ROOT

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), *sorted((ROOT / "configs").glob("github-*.yml"))]
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40}( # v\d+\.\d+\.\d+)?")


def steps_of(path: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load(path.read_text())
    return [step for job in document["jobs"].values() for step in job["steps"]]


def test_each_flag_of_run_is_an_input_or_left_out_for_a_reason() -> None:
    names = {flag.name for flag in flags()}
    assert names >= set(LEFT_OUT)
    assert set(ACTION["inputs"]) == (names - set(LEFT_OUT)) | set(OWN)
    assert all(len(why) > 10 for why in LEFT_OUT.values())


def test_inputs_are_declared_as_they_are_passed() -> None:
    text = (ROOT / "action.yml").read_text()
    assert with_inputs(text) == text
    env = ACTION["runs"]["steps"][1]["env"]
    used = {flag.name: flag for flag in flags() if flag.name not in LEFT_OUT}
    assert {word.partition("/")[0] for word in env["SWITCHES"].split()} == {n for n in used if used[n].is_switch}
    assert set(env["LISTS"].split()) == {name for name in used if used[name].is_list}
    assert ACTION["inputs"]["read-only"]["default"] == "true"
    assert set(ACTION["outputs"]) == {"status", "exit_code", "run_id", "cost_usd", "answer", "structured"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_script_has_a_value_pasted_into_it(path: Path) -> None:
    assert [step["run"] for step in steps_of(path) if "${{" in step.get("run", "")] == []


def test_no_script_of_the_action_has_a_value_pasted_into_it() -> None:
    assert [step["run"] for step in ACTION["runs"]["steps"] if "${{" in step["run"]] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_of_others_are_pinned_by_their_commit(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    others = [line for line in used if not line.startswith("./")]
    assert [line for line in others if not PINNED.fullmatch(line)] == []
    assert [line for line in others if "# v" not in line and not line.startswith("OWNER/")] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_jobs_may_only_read_unless_they_say_what_else(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    rights = [document["permissions"], *(job.get("permissions", {}) for job in document["jobs"].values())]
    writes = [f"{name}: {level}" for one in rights for name, level in one.items() if level != "read"]
    assert writes == (["pull-requests: write"] if path.stem == "github-review" else [])
    assert all("timeout-minutes" in job for job in document["jobs"].values())


def test_tests_run_on_each_python_that_the_package_names() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'"Programming Language :: Python :: (\d\.\d+)"', project)
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert jobs["fast"]["strategy"]["matrix"]["python"] == named
    assert jobs["tests"]["strategy"]["matrix"]["python"] == named


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_our_own_action_gets_inputs_that_it_has(path: Path) -> None:
    ours = [step for step in steps_of(path) if step.get("uses", "").startswith(("./", "OWNER/"))]
    assert [set(step["with"]) - set(ACTION["inputs"]) for step in ours] == [set()] * len(ours)
