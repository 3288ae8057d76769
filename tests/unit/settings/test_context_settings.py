"""The numbers of the context: their bounds, their sources, and their arrival in a run's plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.runner.assemble import plan_of
from agentctl.runner.plan import Plan
from agentctl.settings import ENV_NAMES, ProviderChoice, Source
from tests.support.desk import Desk

#: Setting -> the field of a plan, a value other than the default.
ARRIVES: dict[str, tuple[str, object]] = {
    "max_context_tokens": ("max_context_tokens", 9000),
    "keep_last_n_user_messages": ("keep_user", 4),
    "keep_last_n_assistant_messages": ("keep_assistant", 0),
    "max_result_tokens": ("max_result_tokens", 256),
    "context_cut_percent": ("cut_to_percent", 90),
    "context_warn_percent": ("warn_percent", 100),
    "summaries": ("summaries", "never"),
    "summary_tokens": ("summary_tokens", 4000),
}
BUILTIN = ProviderChoice("builtin", None, "default")


def planned(desk: Desk, environ: dict[str, str]) -> dict[str, object]:
    plan = plan_of(desk.load(environ), BUILTIN, labels={})
    return {name: getattr(plan, field) for name, (field, _) in ARRIVES.items()}


def test_plan_has_its_own_defaults_where_nothing_is_set(tmp_path: Path) -> None:
    own = Plan()
    assert planned(Desk(tmp_path), {}) == {name: getattr(own, field) for name, (field, _) in ARRIVES.items()}


def test_each_number_arrives_where_it_is_used(tmp_path: Path) -> None:
    desk, given = Desk(tmp_path), {name: value for name, (_, value) in ARRIVES.items()}
    assert planned(desk, {ENV_NAMES[name][0]: str(value) for name, value in given.items()}) == given
    desk.user_toml("".join(f"{name} = {value!r}\n" for name, value in given.items()))
    assert planned(desk, {}) == given


def test_none_restores_the_share_of_a_result(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("max_result_tokens = 300")
    assert desk.load({"AGENTCTL_MAX_RESULT_TOKENS": "none"}).settings.max_result_tokens is None


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("max_result_tokens", "255", 'a whole number, 256 or more, or "none"'),
        ("context_cut_percent", "9", "a whole number from 10 to 90"),
        ("context_cut_percent", "91", "a whole number from 10 to 90"),
        ("context_warn_percent", "0", "a whole number from 1 to 100"),
        ("context_warn_percent", "80 %", "a whole number from 1 to 100"),
        ("summary_tokens", "99", "a whole number from 100 to 4000"),
        ("summary_tokens", "4001", "a whole number from 100 to 4000"),
        ("summaries", "sometimes", "one of auto, always, never"),
        ("keep_last_n_user_messages", "-1", "a whole number, 0 or more"),
        ("max_context_tokens", "0", "a whole number, 1 or more"),
    ],
)
def test_a_number_out_of_bounds_is_refused_with_what_is_allowed(
    tmp_path: Path, name: str, value: str, allowed: str
) -> None:
    flag = "--" + name.replace("_", "-")
    refused = Desk(tmp_path).refusal(flags={name: value})
    assert str(refused) == f'{name} cannot be "{value}" (flag {flag}); allowed: {allowed}'


def test_an_untrusted_file_may_only_make_less_be_sent(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.project_env("MAX_CONTEXT_TOKENS=4000\nAGENTCTL_SUMMARY_TOKENS=200\nAGENTCTL_SUMMARIES=never\n")
    loaded = desk.load(flags={"summaries": "auto"})
    settings = loaded.settings
    assert (settings.max_context_tokens, settings.summary_tokens, settings.summaries) == (4000, 200, "never")
    assert loaded.sources["summaries"] == Source("project file", str(path))
    assert "summaries is set to never by ./.env" in loaded.notes
    assert loaded.ignored == ()


def test_an_untrusted_file_cannot_make_more_be_sent(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.project_env(
        "MAX_CONTEXT_TOKENS=900000\nAGENTCTL_SUMMARY_TOKENS=4000\nAGENTCTL_MAX_RESULT_TOKENS=300\n"
        "KEEP_LAST_N_USER_MESSAGES=900\nAGENTCTL_CONTEXT_CUT_PERCENT=90\n"
    )
    loaded = desk.load()
    assert loaded.settings == desk.load().settings
    assert loaded.settings.max_context_tokens == 8000
    assert {line.field for line in loaded.ignored} == {
        "max_context_tokens", "summary_tokens", "max_result_tokens", "keep_last_n_user_messages", "context_cut_percent",
    }  # fmt: skip
    desk.project_env("AGENTCTL_SUMMARIES=auto\n")
    assert desk.load({"AGENTCTL_SUMMARIES": "never"}).settings.summaries == "never"
