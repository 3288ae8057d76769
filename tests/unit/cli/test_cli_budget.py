"""``agentctl budget``: words that are refused, where keys come from, and which ledger a lease is closed in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Ended
from tests.support.leases import KEY, signed
from tests.support.output_schemas import validate

Here = Callable[..., Ended]
SPLIT = ("budget", "split", "--total", "3", "--jobs", "2", "--bind", "SHARD={job}")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_LEASE_SIGNING_KEY", KEY.text)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--total", "1.0000000001"), "--total"),
        (("--total", "-1"), "--total"),
        (("--total", "none"), "--total"),
        (("--total", "0"), "the total is too small"),
        (("--total", "0.000000001"), "the total is too small"),
        (("--total", "1e30"), "--total"),
        (("--jobs", "0"), "--jobs 0 is not a number from 1 to 1000"),
        (("--jobs", "1001"), "--jobs 1001 is not a number from 1 to 1000"),
        (("--weights", "0,1"), "a weight must be a number above 0"),
        (("--weights", "-1,1"), "a weight must be a number above 0"),
        (("--weights", "NaN,1"), "a weight must be a number above 0"),
        (("--weights", "Infinity,1"), "a weight must be a number above 0"),
        (("--weights", "1e999999999,1"), "a weight must be between 1e-18 and 1e18"),
        (("--weights", "1,1,1"), "--weights has 3 numbers for 2 jobs"),
        (("--bind", "SHARD=1"), "--bind has SHARD twice"),
        (("--bind", "github", "--bind", "GITHUB_RUN_ID=9"), "--bind has GITHUB_RUN_ID twice"),
        (("--expires", "0"), "--expires"),
        (("--expires", "999999d"), "--expires"),
    ],
)
def test_what_no_lease_can_be_made_of_is_refused(
    here: Here, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    monkeypatch.setenv("GITHUB_RUN_ATTEMPT", "1")
    ended = here(*SPLIT, *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("name", [".", "", "nul\0", "~nobody-of-that-name/x", "no/folder/x"])
def test_a_file_that_cannot_be_written_is_a_usage_error(here: Here, name: str) -> None:
    ended = here(*SPLIT, "--save", name, "--json")
    assert (ended.code, "cannot be written: " in ended.document["error"]["message"]) == (2, True), ended.err


@pytest.mark.usefixtures("key")
def test_one_job_may_get_all(here: Here) -> None:
    ended = here("budget", "split", "--total", "0.000000001", "--jobs", "1", "--bind", "SHARD={job}", "-o", "json")
    assert [job["nano_usd"] for job in ended.document["jobs"]] == [1]


def test_a_signing_key_of_the_config_folder_is_refused_while_others_can_read_it(here: Here, config: Path) -> None:
    assert here("budget", "keygen").code == 0
    assert here(*SPLIT).code == 0
    (config / "lease-signing-key").chmod(0o644)
    ended = here(*SPLIT)
    assert (ended.code, ended.out) == (2, "")
    assert "other users can read it (mode 0644)" in ended.err
    assert "chmod 600" in ended.err


def test_a_lease_of_a_ledger_on_a_server_is_not_closed_in_the_users_own_one(
    here: Here, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    monkeypatch.setenv("AGENTCTL_LEDGER", "postgresql://me:secret@127.0.0.1:1/agentctl")
    monkeypatch.setenv("AGENTCTL_LEASE_KEYS", KEY.public.text)
    ended = here("budget", "close", "--lease", signed().text, "--unused")
    assert (ended.code, ended.out) == (74, "")
    assert "secret" not in ended.err
    assert not (state / "ledger.db").exists()


def test_a_lease_is_not_closed_from_inside_a_run(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_PARENT_RUN", "outer")
    ended = here("budget", "close", "--lease", signed().text)
    assert (ended.code, ended.out) == (5, "")
    assert "a lease cannot be closed from inside a run" in ended.err


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("file", [".env", ".agentctl.toml"])
def test_no_file_of_the_working_directory_gives_a_run_a_lease_or_a_key(here: Here, file: str, trusted: bool) -> None:
    lease, key = signed().text, KEY.public.text
    text = {
        ".env": f"AGENTCTL_LEASE={lease}\nAGENTCTL_LEASE_KEYS={key}\nAGENTCTL_REQUIRE_LEASE=1\n",
        ".agentctl.toml": f'lease = "{lease}"\nlease_keys = "{key}"\nrequire_lease = true\n',
    }[file]
    Path(file).write_text(text)
    if trusted:
        assert here("trust", "--yes").code == (0 if file == ".env" else 2)
    ended = here("run", "--provider", "builtin", "How much disk is free?")
    assert ended.code == 2
    assert "a lease is required, and there is none" in ended.err
    ended = here("run", "--provider", "builtin", "--lease", lease, "How much disk is free?")
    assert (ended.code, "no public key is set" in ended.err) == (2, True)


def test_each_document_is_valid_by_its_schema(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here("budget", "keygen", "--json")  # ``here`` validates what is printed
    ended = here(*SPLIT, "--save", "split.json", "-o", "json")
    validate(json.loads(Path("split.json").read_text()))
    assert "lease" not in json.loads(Path("split.json").read_text())["jobs"][0]
    monkeypatch.setenv("SHARD", "1")
    account = here("budget", "close", "--unused", "--lease", ended.document["jobs"][0]["lease"])
    assert account.document["schema"] == "agentctl.account/1"
    Path("book.json").write_text(account.out)
    Path("cut.json").write_text(account.out[:-9])
    merged = here("budget", "merge", "split.json", "book.json", "cut.json", "--json").document
    assert (merged["schema"], merged["from"], merged["error"]) == ("agentctl.budget-merge/1", None, None)
    assert (merged["status"], merged["exit_code"]) == ("done", 0)
    assert [book["state"] for book in merged["books"]] == ["counted", "unreadable"]
    failed = here("budget", "merge", "split.json", "book.json", "--json", "--fail-above", "1")
    assert (failed.code, failed.document["status"], failed.document["exit_code"]) == (3, "budget", 3)
    assert failed.document["error"]["kind"] == "budget"


@pytest.mark.usefixtures("key")
def test_the_money_of_a_split_is_issued_again_once_on_a_machine(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    first = here(*SPLIT, "--save", "split.json", "-o", "json").document
    monkeypatch.setenv("SHARD", "1")
    Path("book.json").write_text(here("budget", "close", "--unused", "--lease", first["jobs"][0]["lease"]).out)
    words = ("budget", "split", "--from", "split.json", "--returned", "book.json", "--jobs", "1", "--bind", "TRY=2")
    assert here(*words, "--weights", "0").code == 2
    second = here(*words, "--save", "split-2.json", "-o", "json").document
    assert second["total_nano_usd"] == 1_500_000_000
    refused = here(*words, "--json")
    assert (refused.code, refused.document["error"]["kind"]) == (2, "lease")
    assert f"was issued again before, as split {second['split']}" in refused.document["error"]["message"]
    assert here(*words, "--again").code == 0
    assert here(*SPLIT, "--again").code == 2
