"""The matrix workflows of configs/: one budget for all jobs, with a lease for each and a merge at the end."""

from __future__ import annotations

import json
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.signatures import new_key
from tests.support.docs_blocks import blocks
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Rates, WireServer
from tests.support.workflows import gitlab
from tests.support.workflows.github import Job, Machine, fake_artifacts, fake_checkout
from tests.support.workflows.linters import schema_errors
from tests.support.workflows.machines import KEY, ROOT, machine, model_environ, put_agentctl, put_command

CONFIGS = ROOT / "configs"
SIGNER = new_key()
JOBS = 3  # of twelve: the shares and the places are what matters


@pytest.fixture
def server(wire: OpenWire) -> WireServer:
    rates = Rates(Decimal("0.15"), Decimal("0.6"))
    return wire(
        Answer("Half of it is free.", input_tokens=1000, output_tokens=100), rates=rates, keys=[KEY], repeat=True
    )


def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "github-matrix.yml"
    text = (CONFIGS / path.name).read_text()
    assert "--jobs 12" in text
    path.write_text(text.replace("--jobs 12", f"--jobs {JOBS}"))
    return path


def runner(tmp_path: Path, server: WireServer) -> Machine:
    (tmp_path / "project").mkdir()
    folder = tmp_path / "machine"
    put_agentctl(folder / "bin")
    put_command(folder / "bin", "pipx", "exit 0")
    place = machine(
        folder,
        server,
        secrets={"OPENAI_API_KEY": KEY, "AGENTCTL_LEASE_SIGNING_KEY": SIGNER.text},
        variables={"AGENTCTL_LEASE_KEYS": SIGNER.public.text},
        environ={"AGENTCTL_SANDBOX": "none", "AGENTCTL_AGENT": "system"},
        event_name="workflow_dispatch",
    )
    place.actions |= {
        "actions/checkout": fake_checkout(tmp_path / "project", place.workspace),
        **fake_artifacts(tmp_path / "artifacts", place.workspace),
    }
    return place


def attempt(place: Machine, number: int) -> None:
    place.contexts["github"]["run_attempt"] = place.environ["GITHUB_RUN_ATTEMPT"] = str(number)


def results(jobs: dict[str, Job]) -> dict[str, str]:
    return {name: job.result for name, job in jobs.items()}


def test_each_job_of_a_github_matrix_draws_on_its_own_lease(tmp_path: Path, server: WireServer) -> None:
    place = runner(tmp_path, server)
    jobs = place.run(workflow(tmp_path))
    agents = [f"agent ({index}, {index + 1})" for index in range(JOBS)]
    assert results(jobs) == dict.fromkeys(["split", *agents, "merge"], "success"), jobs
    leases = json.loads(jobs["split"].outputs["matrix"])["include"]
    assert len({one["lease"] for one in leases}) == JOBS
    books = [json.loads(file.read_text()) for file in sorted((tmp_path / "artifacts").glob("book-1-*/*.json"))]
    assert [book["nano"] for book in books] == [10**9] * JOBS
    assert sum(book["spent_nano"] for book in books) == server.books.billed_nano > 0
    assert "counts as spent" in jobs["merge"].log
    assert SIGNER.text not in "".join(job.log for job in jobs.values())

    attempt(place, 2)  # all jobs again: no new money
    again = place.run(workflow(tmp_path))
    assert (again["split"].result, again["agent"].result) == ("failure", "skipped")
    assert "a second attempt gets no new money" in again["split"].log


def test_a_job_of_a_second_attempt_sends_nothing_with_its_old_lease(tmp_path: Path, server: WireServer) -> None:
    place = runner(tmp_path, server)
    lease = place.run(workflow(tmp_path), jobs=["split"])["split"].outputs["matrix"]
    only_failed = tmp_path / "failed.yml"  # "Re-run failed jobs": the outputs of the first attempt stay
    text = workflow(tmp_path).read_text().replace("${{ fromJSON(needs.split.outputs.matrix) }}", lease)
    only_failed.write_text(text.replace("needs: split", "needs: []"))
    attempt(place, 2)
    jobs = place.run(only_failed, jobs=["agent"])
    assert set(results(jobs).values()) == {"failure"}
    assert all("GITHUB_RUN_ATTEMPT is 2 here" in job.log for job in jobs.values())
    assert server.books.billed_nano == 0


def test_each_job_of_a_gitlab_pipeline_draws_on_its_own_lease(tmp_path: Path, server: WireServer) -> None:
    path = tmp_path / "gitlab-matrix.yml"
    path.write_text((CONFIGS / path.name).read_text().replace("--jobs 12", f"--jobs {JOBS}"))
    put_agentctl(tmp_path / "bin")
    environ = model_environ(server) | {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "OPENAI_API_KEY": KEY,
        "AGENTCTL_SANDBOX": "none",
        "AGENTCTL_AGENT": "system",
        "AGENTCTL_LEASE_KEYS": SIGNER.public.text,
        "CI_PIPELINE_ID": "99",
        "CI_JOB_RETRY_COUNT": "0",
    }

    def run(name: str, place: str, kept: dict[str, str], **more: str) -> gitlab.Job:
        folder = tmp_path / place / "project"
        folder.mkdir(parents=True)
        for file, text in kept.items():
            (folder / file).write_text(text)
        return gitlab.run_job(path, name, folder, {**environ, **more})

    split = run("split", "split", {}, AGENTCTL_LEASE_SIGNING_KEY=SIGNER.text)
    assert split.result == "success", split.log
    books: dict[str, str] = {}
    for index in range(1, JOBS + 1):
        job = run("agent", f"agent-{index}", dict(split.kept), CI_NODE_INDEX=str(index))
        assert job.result == "success", job.log
        books |= {name: text for name, text in job.kept.items() if name.startswith("book-")}
    assert sorted(books) == [f"book-{index}.json" for index in range(1, JOBS + 1)]
    before = server.books.billed_nano
    assert sum(json.loads(text)["spent_nano"] for text in books.values()) == before > 0
    merged = run("merge", "merge", {**split.kept, **books})
    assert (merged.result, "counts as spent" in merged.log) == ("success", True), merged.log

    with pytest.raises(subprocess.CalledProcessError):  # its account is not written: the lease counts in full
        run("agent", "retried", dict(split.kept), CI_NODE_INDEX="1", CI_JOB_RETRY_COUNT="1")
    assert server.books.billed_nano == before, "a retried job has another attempt"


def test_the_walk_through_of_the_docs_works(tmp_path: Path) -> None:
    (block,) = (one for one in blocks("text") if one.page == "docs/fleet.md" and "keygen" in one.text)
    put_agentctl(tmp_path / "bin")
    put_command(tmp_path, "walk", f"set -e\nexport PATH={tmp_path / 'bin'}:$PATH HOME={tmp_path}\n{block.text}")
    words = ["bash", f"{tmp_path}/walk"]
    environ = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environ)
    assert done.returncode == 0, done.stderr
    assert "counts as spent" in done.stdout
    assert "job 2 has no valid account" in done.stderr


@pytest.mark.needs("workflow linters")
def test_the_gitlab_file_is_valid_by_the_published_schema() -> None:
    assert schema_errors("gitlab-ci", CONFIGS / "gitlab-matrix.yml") == []
