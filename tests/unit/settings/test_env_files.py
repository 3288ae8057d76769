"""Files that ``--env-file`` names: what is no variable is reported, and a file without any is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.desk import Desk


@pytest.mark.parametrize(
    "text",
    [
        "max_turns = 5\n",
        "# limits\nmax_cost_per_task = 0.25\ndeny = []\n",
        '[prices]\n"openai/m" = { input = 1, output = 1 }\nmax_turns = 5\n',
    ],
)
def test_toml_file_as_env_file_is_refused_with_the_flag_for_it(tmp_path: Path, text: str) -> None:
    desk = Desk(tmp_path)
    path = desk.file("ci.conf", text)
    refused = desk.refusal(env_files=["ci.conf"])
    assert (refused.message, refused.hint) == (
        f"env file {path} is a TOML file: it sets no variable",
        f"use --config {path}",
    )


def test_toml_file_of_tables_alone_is_known_by_its_name(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    text = '[prices]\n"openai/m" = { input = 1, output = 1 }\n[prices.m]\ninput = 1\noutput = 1\n'
    path = desk.file("prices.toml", text)
    assert desk.refusal(env_files=["prices.toml"]).hint == f"use --config {path}"


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# nothing\n", "hello world\n", "OPENAI_API_KEY\n", "export A\n", "sk-1 x\n"]
)
def test_env_file_without_a_variable_is_refused(tmp_path: Path, text: str) -> None:
    desk = Desk(tmp_path)
    path = desk.file("x.env", text)
    assert desk.refusal(env_files=["x.env"]).message == f"env file {path} has no line NAME=value"


def test_lines_of_an_env_file_that_are_no_variable_are_reported(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.file("x.env", "[agent]\nAGENTCTL_MAX_TURNS=5\nhello world\nAPP_NAME\nexport A=1\nfoo.bar=2\nB=\n")
    loaded = desk.load(env_files=["x.env"])
    assert loaded.settings.max_turns == 5
    assert loaded.notes == (f"env file {path} line 1, 3, 4 is not NAME=value",)


def test_setting_in_lower_case_has_no_effect_and_is_reported(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.file("x.env", "AGENTCTL_MAX_TURNS=5\nmax_cost_per_task=0.1\ntimeout=5m\n")
    (note,) = desk.load(env_files=["x.env"]).notes
    assert note == (
        f'env file {path} has unknown names: max_cost_per_task (did you mean "MAX_COST_PER_TASK"?), '
        'timeout (did you mean "AGENTCTL_TIMEOUT"?), without effect'
    )


def test_variables_of_other_programs_alone_are_no_problem(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.file("app.env", "DATABASE_URL=x\nexport POSTGRES_USER=y\n")
    assert desk.load(env_files=["app.env"]).notes == ()


def test_users_own_env_may_be_empty(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_env("# no key yet\n")
    assert desk.load().notes == ()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("OPENAI_API_KEY=sk-abc\n", "is not TOML", "put lines NAME=value into a file for --env-file"),
        ("MAX_TURNS=5\n", 'unknown setting "MAX_TURNS"', 'did you mean "max_turns"?'),
        ("LLM_MODEL='x'\n", 'unknown setting "LLM_MODEL"', 'did you mean "llm_model"?'),
    ],
)
def test_env_file_as_config_gets_a_hint(tmp_path: Path, text: str, message: str, hint: str) -> None:
    desk = Desk(tmp_path)
    desk.file("x.env", text)
    refused = desk.refusal(config="x.env")
    assert message in refused.message
    assert refused.hint == hint
