"""The doctor's checks: run in parallel, bounded in time, each problem with a line to paste."""

from __future__ import annotations

import os
import threading
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.cli.doctor import checks
from agentctl.cli.doctor.examination import choice_reason, examine
from agentctl.cli.doctor.findings import DoctorCheck, Finding, ok, run_checks
from agentctl.core.errors import UsageError
from agentctl.core.pricing import FREE, ModelFacts, Price
from agentctl.settings import ProviderChoice, check_settings
from agentctl.settings.host import is_dumb
from tests.support.desk import Desk

PAID = ModelFacts("openai", "m", price=Price(Decimal(1), Decimal(3), source="test"), context_window=8000)


def desk_with(root: Path, **environ: str) -> Desk:
    """Return a desk whose environment holds more."""
    desk = Desk(root)
    desk.environ |= environ
    return desk


def test_questions_are_asked_side_by_side_and_answered_in_order() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def ask(name: str) -> list[Finding]:
        meeting.wait()  # one after the other, this would never end
        return [ok(name, "met")]

    questions = [DoctorCheck(name, lambda name=name: ask(name), 30.0) for name in ("one", "two")]  # type: ignore[misc]
    assert run_checks(questions) == (ok("one", "met"), ok("two", "met"))


def test_check_that_hangs_is_abandoned_and_reported() -> None:
    never = threading.Event()

    def hang() -> list[Finding]:
        never.wait(20)
        return [ok("hung", "after all")]

    found = run_checks([DoctorCheck("hung", hang, 0.05), DoctorCheck("well", lambda: [ok("well", "here")], 30.0)])
    assert found == (Finding("hung", "warning", "the check did not end within 0.05 s"), ok("well", "here"))
    never.set()


def test_check_that_fails_is_a_finding_and_the_others_still_report() -> None:
    def refuse() -> list[Finding]:
        raise UsageError("wrong", hint="do it right")

    def break_down() -> list[Finding]:
        raise ZeroDivisionError("by zero")

    first, second, third = run_checks(
        [
            DoctorCheck("a", refuse, 30.0),
            DoctorCheck("b", break_down, 30.0),
            DoctorCheck("c", lambda: [ok("c", "here")], 30.0),
        ]
    )
    assert first == Finding("a", "lack", "wrong", "do it right")
    assert (second.state, second.message) == ("warning", "the check failed: ZeroDivisionError: by zero")
    assert third == ok("c", "here")


def test_state_folder_is_tested_and_nothing_stays(tmp_path: Path) -> None:
    (found,) = checks.check_state_folder(tmp_path / "not" / "yet")
    assert found.state == "ok"
    assert "does not exist yet" in found.message
    assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o700)
    assert checks.check_state_folder(tmp_path)[0].state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_others_may_look_into_gets_the_line_that_closes_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (found,) = checks.check_state_folder(tmp_path)
    assert (found.state, found.hint, found.stops) == ("warning", f"chmod 700 {tmp_path}", False)


def test_a_state_folder_below_a_file_stops_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = checks.check_state_folder(tmp_path / "file")
    assert (found.state, found.stops, found.hint) == ("lack", True, "export AGENTCTL_STATE_DIR=/a/local/folder")


def test_key_is_shown_by_name_and_source_only(tmp_path: Path) -> None:
    desk = desk_with(tmp_path, OPENAI_API_KEY="sk-not-to-be-seen-1234567890", GROQ_API_KEY="")
    found = checks.check_key(desk.load(), ProviderChoice("openai", "m", "key OPENAI_API_KEY"))
    assert [finding.message for finding in found] == [
        "OPENAI_API_KEY is set (environment)",
        "GROQ_API_KEY is set but empty",
    ]
    assert found[1].hint == "unset GROQ_API_KEY"


def test_config_folder_writable_by_others_is_reported(tmp_path: Path) -> None:
    loaded = Desk(tmp_path).load()
    folder = loaded.settings.config_dir
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    found = checks.check_key(loaded, ProviderChoice("builtin", None, "no key"))
    assert [(finding.state, finding.hint) for finding in found[1:]] == [("warning", f"chmod 700 {folder}")]


def test_working_directorys_files_are_reported_with_the_line_that_uses_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.file(".env", "OPENAI_API_KEY=sk-not-to-be-seen-1234567890\nMAX_COST_PER_TASK=0.10\n")
    checked = check_settings(flags={}, environ=desk.environ, cwd=desk.cwd)
    assert checked.loaded is not None
    first, second = checks.check_project_files(checked.loaded, checked.notes)
    assert first.message == "./.env is not trusted; ignored: OPENAI_API_KEY"
    assert first.hint == checked.loaded.ignored[0].remedy
    assert second.message == "max_cost_per_task is lowered to $0.10 by ./.env"
    assert [finding.state for finding in checks.check_settings(checked.loaded, checked.notes)] == ["ok"]


@pytest.mark.parametrize(
    ("facts", "state", "message"),
    [
        (ModelFacts("builtin", None, price=FREE, metered=False), "ok", "builtin is free"),
        (ModelFacts("ollama", "m", price=FREE), "ok", "ollama/m is free"),
        (PAID, "ok", "openai/m costs $1 in, $3 out per million tokens, 8,000 tokens of context (test)"),
    ],
)
def test_price_is_reported_as_it_is(facts: ModelFacts, state: str, message: str) -> None:
    (found,) = checks.check_price(facts)
    assert (found.state, found.message) == (state, message)


def test_an_unknown_price_is_a_warning_with_the_command_to_set_it() -> None:
    (found,) = checks.check_price(ModelFacts("openai", "new"))
    assert (found.state, found.hint) == (
        "warning",
        "set its prices: agentctl config set 'prices.\"openai/new\"' input=USD output=USD",
    )


def test_an_old_price_table_is_a_warning(tmp_path: Path) -> None:
    loaded = Desk(tmp_path).load()
    (new,) = checks.check_price_table(loaded, date(2026, 11, 24))
    (old,) = checks.check_price_table(loaded, date(2028, 1, 1))
    assert (new.state, old.state) == ("ok", "warning")
    assert old.hint


def test_a_day_is_a_limit_too(tmp_path: Path) -> None:
    lifted = {"MAX_COST_PER_TASK": "none", "MAX_COST_PER_HOUR": "none", "AGENTCTL_MAX_COST_PER_DAY": "5"}
    (found,) = checks.check_limits(desk_with(tmp_path, **lifted).load(), PAID)
    assert (found.state, found.message) == ("ok", "task none, hour none, day $5, 100,000 tokens per task")


def test_limits_that_are_all_lifted_are_a_warning_where_it_costs(tmp_path: Path) -> None:
    loaded = desk_with(tmp_path, MAX_COST_PER_TASK="none", MAX_COST_PER_HOUR="none").load()
    (found,) = checks.check_limits(loaded, PAID)
    assert (found.state, found.message) == (
        "warning",
        "task none, hour none, 100,000 tokens per task: the cost is not limited",
    )
    assert checks.check_limits(loaded, None)[0].state == "ok"


def test_an_hour_without_room_stops_a_run_that_costs(tmp_path: Path) -> None:
    loaded = desk_with(tmp_path, MAX_COST_PER_HOUR="0").load()
    (found,) = checks.check_limits(loaded, PAID)
    assert (found.state, found.stops) == ("lack", True)
    assert found.hint.startswith("agentctl run --max-cost-per-hour ")
    assert checks.check_limits(loaded, ModelFacts("ollama", "m", price=FREE))[0].state == "ok"


def test_run_without_a_sandbox_as_asked_is_only_a_warning(tmp_path: Path) -> None:
    loaded = desk_with(tmp_path, AGENTCTL_SANDBOX="none").load()
    (found,) = checks.check_sandbox(loaded.settings, "environment AGENTCTL_SANDBOX", tmp_path)
    assert (found.state, found.stops) == ("warning", False)
    assert "environment AGENTCTL_SANDBOX" in found.message


@pytest.mark.parametrize(
    ("environ", "choice", "why"),
    [
        (
            {"OPENAI_API_KEY": "sk-1234567890"},
            ProviderChoice("openai", "m", "key OPENAI_API_KEY"),
            "key OPENAI_API_KEY is set (environment)",
        ),
        ({"LLM_PROVIDER": "ollama"}, ProviderChoice("ollama", "m", "x"), "LLM_PROVIDER selects it (environment)"),
        ({}, ProviderChoice("builtin", None, "no key"), "no key is set and no model is named"),
        (
            {},
            ProviderChoice("builtin", None, "no key, and Ollama on this host has 3 models"),
            "no key is set, and Ollama on this host has 3 models",
        ),
        (
            {},
            ProviderChoice("ollama", "m", "Ollama on this host, its only model"),
            "Ollama on this host has it as its only model",
        ),
    ],
)
def test_choice_reason_names_what_decided(
    tmp_path: Path, environ: dict[str, str], choice: ProviderChoice, why: str
) -> None:
    assert choice_reason(desk_with(tmp_path, **environ).load(), choice) == why


def test_wrong_settings_are_reported_one_by_one_and_the_rest_is_checked(tmp_path: Path) -> None:
    desk = desk_with(tmp_path, MAX_COST_PER_TASK="much", AGENTCTL_MAX_TURNS="0")
    checked = check_settings(flags={}, environ=desk.environ, cwd=desk.cwd)
    facts = ModelFacts("builtin", None, price=FREE, metered=False)
    report = examine(
        checked, check_startable=lambda *_: facts, caller_findings=(), today=date(2026, 1, 1), offline=True
    )
    assert (report.would_use, report.runs) == (None, False)
    assert report.headline.startswith('`run` would not start: max_cost_per_task cannot be "much"')
    settings = [finding for finding in report.findings if finding.subject == "settings"]
    assert sorted(finding.hint for finding in settings) == ["unset AGENTCTL_MAX_TURNS", "unset MAX_COST_PER_TASK"]
    assert all(finding.stops for finding in settings)
    assert {"provider", "price", "ledger", "engine", "sandbox"} <= {finding.subject for finding in report.findings}


def test_a_terminal_says_itself_that_it_is_dumb() -> None:
    assert is_dumb({"TERM": "dumb"})
    assert is_dumb({})
    assert not is_dumb({"TERM": "xterm-256color"})
    assert is_dumb() == is_dumb(dict(os.environ))
