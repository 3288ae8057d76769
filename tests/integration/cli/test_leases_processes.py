"""One budget for twelve jobs, each in a home of its own: the provider's bill is never above what the merge reports."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentctl.core.pricing import NANO_PER_USD
from tests.support.bill.parts import KEY, PENNY, TASK, reaching
from tests.support.command_line import Commands, Ended
from tests.support.wire.plugin import OpenWire, wire
from tests.support.wire.server import Answer, WireRequest, WireServer

__all__ = ["wire"]

JOBS = 12
SHARE = NANO_PER_USD // 20  # of $0.60
NO_LIMITS = ("--max-cost", "none", "--max-cost-per-hour", "none", "--max-tokens", "none", "--agent", "system")
KILLED = "of the killed job"


def answering(asked: WireRequest) -> Answer:
    """Go on for ever, a cent an answer; the killed job's second answer stops half-way."""
    step = sum(said.role == "assistant" for said in asked.messages)
    is_killed = any(KILLED in said.text for said in asked.messages)
    return PENNY.busy(asked, stall=is_killed and step == 1)


class Home(NamedTuple):
    """A job on a runner of its own: folders, variables and the commands of its steps."""

    name: str
    folder: Path
    variables: Mapping[str, str]

    def command(self, *words: str, **more: str) -> Ended:
        return Commands(self.folder)(*words, **{**self.variables, **more})

    def start(self, task: str, *words: str, **more: str) -> subprocess.Popen[bytes]:
        given = ("run", task, "--json", *NO_LIMITS, *words)
        return Commands(self.folder).start(*given, env={**self.variables, **more})

    def close(self) -> bytes:
        ended = self.command("budget", "close")
        assert ended.code == 0, ended.err
        return ended.out.encode()


class Fleet(NamedTuple):
    """The splitter, and homes for its jobs."""

    root: Path
    public: str
    leases: tuple[str, ...]
    server: WireServer

    def home(self, job: int, name: str = "", **more: str) -> Home:
        folder = self.root / (name or f"job-{job}")
        folder.mkdir()
        kinds = ("state", "config", "cache")
        variables = {
            **{f"AGENTCTL_{kind.upper()}_DIR": str(folder / kind) for kind in kinds},
            **reaching(self.server, "openai"),
            "LLM_MODEL": PENNY.model,
            "AGENTCTL_LEASE": self.leases[job - 1],
            "AGENTCTL_LEASE_KEYS": self.public,
            "AGENTCTL_REQUIRE_LEASE": "1",
            "GITHUB_RUN_ID": "77",
            "GITHUB_RUN_ATTEMPT": "1",
            "AGENTCTL_JOB_INDEX": str(job - 1),
            **more,
        }
        return Home(folder.name, folder, variables)

    def merge(self, books: Mapping[str, bytes], *words: str, split: str = "split.json") -> Ended:
        for name, data in books.items():
            (self.root / name).write_bytes(data)
        return Commands(self.root)("budget", "merge", split, *books, "--json", *words, AGENTCTL_LEASE_KEYS=self.public)


@pytest.fixture
def fleet(tmp_path: Path, wire: OpenWire, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    for kind in ("state", "config", "cache"):
        monkeypatch.setenv(f"AGENTCTL_{kind.upper()}_DIR", str(tmp_path / "splitter" / kind))
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    monkeypatch.setenv("GITHUB_RUN_ATTEMPT", "1")
    shell = Commands(tmp_path)
    public = shell("budget", "keygen").out.strip()
    ended = shell("budget", "split", "--total", "0.60", "--jobs", str(JOBS), "--bind", "github", "-o", "json")
    assert ended.code == 0, ended.err
    (tmp_path / "split.json").write_text(ended.out)
    leases = tuple(job["lease"] for job in ended.document["jobs"])
    return Fleet(tmp_path, public, leases, wire(answering, rates=PENNY.rates, keys=[KEY]))


def ended_with(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, err = process.communicate(timeout=100)
    assert b"Traceback" not in err
    document: dict[str, Any] = json.loads(out)
    return document


def test_merge_of_twelve_jobs_is_never_below_the_bill_whatever_happens_to_them(fleet: Fleet) -> None:
    homes = {job: fleet.home(job) for job in range(1, JOBS + 1)}
    twice = fleet.home(2, "job-2-again")
    killed = homes[1].start(f"{TASK} {KILLED}")
    running = [home.start(TASK) for job, home in homes.items() if job != 1] + [twice.start(TASK)]
    for document in map(ended_with, running):
        assert (document["exit_code"], document["breaker"]["limit"]) == (3, "max_cost_per_lease")
        assert document["breaker"]["ceiling"] == 0.05
        assert document["limits"]["max_cost_per_lease"]["used"] <= 0.05
    assert fleet.server.books.wait(lambda books: sum(KILLED in str(one.asked) for one in books.entries) == 2, 50)
    killed.kill()
    killed.communicate()

    again = ended_with(homes[8].start(TASK))  # the second run of a job goes on where the first stopped
    assert (again["exit_code"], again["turns"]) == (3, 0) or again["cost"]["nano_usd"] <= SHARE
    before = fleet.server.books.billed_nano
    restarted = fleet.home(3, "job-3-attempt-2", GITHUB_RUN_ATTEMPT="2")
    refused = ended_with(restarted.start(TASK))
    assert (refused["exit_code"], refused["error"]["kind"]) == (2, "lease")
    assert "GITHUB_RUN_ATTEMPT=1, but GITHUB_RUN_ATTEMPT is 2 here" in refused["error"]["message"]
    assert fleet.server.books.billed_nano == before, "nothing is sent for a lease of another attempt"

    books = {f"book{job}.json": home.close() for job, home in homes.items()}
    books["book2-again.json"] = twice.close()
    own = dict(books)
    del books["book4.json"]  # lost
    books["book5.json"] = books["book5.json"][:-40]  # cut off
    edited = re.sub(rb'"spent_nano":\d+', b'"spent_nano":1', books["book6.json"])
    assert edited != books["book6.json"]
    books["book6.json"] = edited
    books["book7-again.json"] = books["book7.json"]

    merged = fleet.merge(books)
    document = merged.document
    assert (merged.code, document["error"]["kind"]) == (2, "lease")
    assert document["error"]["message"] == "book6.json was changed: its signature does not fit"
    states = {book["file"]: book["state"] for book in document["books"] if book["state"] != "counted"}
    assert states == {"book5.json": "unreadable", "book6.json": "changed", "book7-again.json": "repeated"}
    jobs = {job["job"]: job for job in document["jobs"]}
    assert {job: jobs[job]["state"] for job in jobs if jobs[job]["state"] != "closed"} == {
        2: "two_ledgers", 4: "missing", 5: "missing", 6: "missing",
    }  # fmt: skip
    assert {jobs[job]["counted_nano_usd"] for job in (4, 5, 6)} == {SHARE}
    assert jobs[1]["in_doubt_nano_usd"] > 0
    assert jobs[2]["counted_nano_usd"] <= 2 * SHARE
    assert document["counted_nano_usd"] == sum(job["counted_nano_usd"] for job in document["jobs"])
    assert fleet.server.books.billed_nano <= document["counted_nano_usd"]
    assert document["counted_nano_usd"] <= (JOBS + 1) * SHARE, "k uses cost at most k leases"

    honest = fleet.merge(own)
    assert (honest.code, honest.document["error"]["kind"]) == (3, "budget")
    named = re.findall(r"([0-9a-f]{16}) on [\w.-]+ \((book2[\w-]*\.json)\)", honest.document["error"]["message"])
    assert [file for _, file in named] == ["book2.json", "book2-again.json"]
    assert len({ledger for ledger, _ in named}) == 2
    assert fleet.server.books.billed_nano <= honest.document["counted_nano_usd"] < document["counted_nano_usd"]
    assert (
        honest.document["spent_nano_usd"] + honest.document["in_doubt_nano_usd"] == honest.document["counted_nano_usd"]
    )

    del own["book2-again.json"]  # as if its runner had been lost: the bound for what nobody hands in
    assert fleet.server.books.billed_nano <= fleet.merge(own).document["counted_nano_usd"] + SHARE


def test_a_second_attempt_gets_what_the_first_one_returns_and_no_more(fleet: Fleet) -> None:
    home = fleet.home(1)
    assert ended_with(home.start(TASK))["exit_code"] == 3
    books = {"book1.json": home.close()}
    first = fleet.merge(books, "--fail-above", "0.55")
    assert (first.code, first.document["missing_nano_usd"]) == (3, 11 * SHARE)
    assert "is above --fail-above $0.55" in first.document["error"]["message"]

    def split(*words: str, attempt: str = "2") -> Ended:
        shell = Commands(fleet.root)
        return shell("budget", "split", "--bind", "github", "--json", *words, GITHUB_RUN_ATTEMPT=attempt)

    new = split("--total", "3", "--jobs", "2")
    assert (new.code, new.document["error"]["kind"]) == (2, "lease")
    assert "a second attempt gets no new money" in new.document["error"]["message"]
    returned = ("--from", "split.json", "--returned", "book1.json", "--jobs", "1")
    assert "its jobs may still run" in split(*returned, attempt="1").document["error"]["message"]
    assert split(*returned, "--total", "0.05").code == 2
    again = split(*returned)
    left = SHARE - first.document["spent_nano_usd"] - first.document["in_doubt_nano_usd"]
    assert (again.code, again.document["total_nano_usd"]) == (0, left)
    (fleet.root / "split-2.json").write_text(again.out)

    second = fleet.home(1, "attempt-2", AGENTCTL_LEASE=again.document["jobs"][0]["lease"], GITHUB_RUN_ATTEMPT="2")
    document = ended_with(second.start(TASK))
    assert document["exit_code"] in (0, 3), document["error"]
    total = fleet.merge({"book-2.json": second.close()}, split="split-2.json").document
    assert fleet.server.books.billed_nano <= total["counted_nano_usd"] <= JOBS * SHARE
    assert total["earlier_nano_usd"] == first.document["counted_nano_usd"]
