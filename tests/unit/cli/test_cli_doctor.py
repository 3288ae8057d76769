"""``agentctl doctor``: the first line and a line for each check; it shows no key, costs nothing and does not hang."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.providers.wires.model_parameters import checked_litellm
from tests.support.command_line import KEY, Ended, Here
from tests.support.probe_host import Host, page
from tests.support.wire.server import WireServer

MODELS = page({"object": "list", "data": [{"id": "gpt-4o-mini"}]})
QUESTIONS = [
    *("settings", "project files", "key", "provider", "price", "price table", "limits", "ledger", "state folder"),
    *("engine", "sandbox", "terminal", "versions"),
]


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[str]:
    """Give the address of an engine that takes a connection and says nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "deaf.sock"))
        listener.listen()
        yield f"unix://{tmp_path}/deaf.sock"


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")


def check(ended: Ended, about: str) -> dict[str, object]:
    """Return what the document says to one question."""
    return next(found for found in ended.document["checks"] if found["about"] == about)


def test_the_first_line_says_what_a_run_would_use_and_each_question_has_a_line(here: Here, state: Path) -> None:
    ended = here("doctor")
    assert (ended.code, ended.err) == (0, "")
    first, blank, *lines = ended.out.splitlines()
    assert first == "`run` would use builtin because no key is set and no Ollama answers on this host"
    assert blank == ""
    told = [line for line in lines if not line.startswith(" ")]
    assert [line[9:22].strip() for line in told] == QUESTIONS
    assert {line[:9].strip() for line in told} <= {"ok", "warning", "problem"}
    assert not state.exists()


def test_the_first_line_names_the_key_that_decides(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    with WireServer(keys=[KEY], models=["gpt-4o-mini"]) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        ended = here("doctor")
        assert ended.code == 0
        assert ended.out.splitlines()[0] == (
            "`run` would use openai/gpt-4o-mini because key OPENAI_API_KEY is set (environment)"
        )
        document = here("doctor", "--json").document
        assert (document["schema"], document["ok"], document["exit_code"], document["error"]) == (
            "agentctl.doctor/1",
            True,
            0,
            None,
        )
        assert (document["would_use"], document["because"]) == (
            "openai/gpt-4o-mini",
            "key OPENAI_API_KEY is set (environment)",
        )
        assert server.books.chat_requests == ()
        assert server.books.billed_nano == 0
    provider = next(line for line in ended.out.splitlines() if " provider " in line)
    assert provider.endswith(", accepts the key, knows gpt-4o-mini")


def test_a_key_that_is_refused_ends_with_1_and_the_line_to_paste(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    with WireServer(keys=["sk-another-0123456789"], models=["gpt-4o-mini"]) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        ended = here("doctor", "--json")
        text = here("doctor")
    found = check(ended, "provider")
    assert (ended.code, ended.document["ok"]) == (1, False)
    assert (found["state"], found["cure"], found["stops_run"]) == ("lack", "agentctl providers set-key openai", True)
    assert (text.code, text.out.splitlines()[-1]) == (1, "`run` would not work because of: provider")
    for said in (ended.out, text.out, text.err):
        assert "not-to-be-seen" not in said


def test_a_server_that_answers_to_any_model_and_needs_no_key_is_fine(
    here: Here, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.mkdir()
    (config / "config.toml").write_text('[prices]\n"openai/any" = { input = 0, output = 0 }\n')
    with Host({"/v1/models": page({"object": "list", "data": [{"id": "m.gguf"}]})}) as host:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{host.url}/v1")
        monkeypatch.setenv("LLM_MODEL", "openai/any")
        ended = here("doctor", "--json")
        listed = here("providers", "list", "--json").document
        tried = here("providers", "test", "--free", "openai")
    assert (ended.code, ended.document["ok"], tried.code) == (0, True, 0)
    key, provider = check(ended, "key"), check(ended, "provider")
    assert (key["state"], key["said"]) == ("ok", f"OPENAI_API_KEY is not set; {host.url}/v1 may need none")
    assert provider["state"] == "ok"
    assert str(provider["said"]).endswith(", lists m.gguf and not any: a server may answer to any name")
    (row,) = (row for row in listed["providers"] if row["provider"] == "openai")
    assert row["key"] == {"needed": False, "name": "OPENAI_API_KEY", "masked": None, "from": None}


def test_offline_contacts_no_other_host(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    ended = here("doctor", "--offline", "--json")
    assert ended.code == 0
    assert check(ended, "provider")["said"] == "openai was not asked (--offline)"
    assert str(check(ended, "engine")["said"]).endswith(" was not asked (--offline)")


def test_ci_run_without_a_key_would_not_start(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    ended = here("doctor")
    first, cure, *_ = ended.out.splitlines()
    assert ended.code == 1
    assert first.startswith("`run` would not start: CI is set and no key was found")
    assert cure.startswith("  ")
    document = here("doctor", "--json").document
    assert (document["would_use"], document["because"]) == (None, None)


def test_a_model_without_a_price_would_not_start_and_the_line_to_add_is_there(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("LLM_MODEL", "openai/nobody-knows-it")
    ended = here("doctor", "--offline")
    assert ended.code == 1
    assert ended.out.startswith("`run` would not start: the price of openai/nobody-knows-it is unknown")
    assert '[prices."openai/nobody-knows-it"]\ninput = ' in ended.out.replace("\n  ", "\n")


def test_a_wrong_setting_would_not_start(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_COST_PER_TASK", "much")
    ended = here("doctor")
    assert ended.code == 1
    assert ended.out.splitlines()[0].startswith('`run` would not start: max_cost_per_task cannot be "much"')
    assert ended.out.splitlines()[1] == "  unset MAX_COST_PER_TASK"


def test_a_rule_about_no_tool_would_not_start(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_DENY", "docker_pss")
    ended = here("doctor")
    assert (ended.code, ended.out.splitlines()[1]) == (1, '  did you mean "docker_ps"?')


def test_a_key_file_that_others_may_read_would_not_start(here: Here, config: Path) -> None:
    config.mkdir()
    (config / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    (config / ".env").chmod(0o644)
    ended = here("doctor")
    assert ended.code == 1
    assert "other users can read it" in ended.out
    assert f"chmod 600 {config}/.env" in ended.out
    assert "not-to-be-seen" not in ended.out


def test_a_damaged_ledger_ends_with_1(here: Here, state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / "ledger.db").write_bytes(b"no database at all" * 100)
    ended = here("doctor", "--json")
    found = check(ended, "ledger")
    assert (ended.code, found["state"], found["stops_run"]) == (1, "lack", True)
    assert found["cure"]


def test_last_charge_is_shown(here: Here) -> None:
    here("run", "count them", script="answer")
    found = check(here("doctor", "--json"), "ledger")
    assert found["state"] == "ok"
    assert str(found["said"]).endswith(" UTC, scripted/priced")
    limits = check(here("doctor", "--json"), "limits")
    assert "hour $10 ($0.013 of it used)" in str(limits["said"])


def test_an_untrusted_file_here_is_a_warning_with_the_line_that_uses_it(here: Here, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    ended = here("doctor")
    assert ended.code == 0
    line = next(line for line in ended.out.splitlines() if " project files " in line)
    assert line == "warning  project files  ./.env is not trusted; ignored: OPENAI_API_KEY"
    assert "not-to-be-seen" not in ended.out


def test_missing_engine_is_reported_for_container_tasks_and_stops_no_run(here: Here, tmp_path: Path) -> None:
    ended = here("doctor", "--json")
    found = check(ended, "engine")
    assert (ended.code, found["state"], found["stops_run"]) == (0, "lack", False)
    assert f"{tmp_path}/nobody.sock" in str(found["said"])
    assert found["cure"]


@pytest.mark.slow
def test_engine_and_provider_that_do_not_answer_do_not_hang_doctor(
    here: Here, deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Host() as host:
        host.pages["/v1/models"] = host.silence
        monkeypatch.setenv("DOCKER_HOST", deaf)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{host.url}/v1")
        ended = here("doctor", "--json")
        assert host.left.wait(30)
        assert host.lines == ["GET /v1/models"]
    assert ended.code == 1
    assert str(check(ended, "engine")["said"]).endswith("did not answer within 2 s (only container tasks need it)")
    assert (check(ended, "provider")["state"], check(ended, "engine")["state"]) == ("lack", "lack")


def test_colours_come_where_they_are_asked_for(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in here("doctor").out
    monkeypatch.setenv("AGENTCTL_COLOR", "always")
    assert "\x1b[32mok" in here("doctor").out


def test_another_litellm_than_the_one_that_lean_was_compared_with_is_a_warning(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual = check(here("doctor", "--json"), "versions")
    assert (usual["state"], usual["cure"]) == ("ok", None)
    package = tmp_path / "site" / "litellm-9.9.9.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: litellm\nVersion: 9.9.9\n")
    monkeypatch.syspath_prepend(str(package.parent))
    ended = here("doctor", "--json")
    found = check(ended, "versions")
    assert (ended.code, found["state"], found["stops_run"]) == (0, "warning", False)
    checked = checked_litellm()
    assert str(found["said"]).endswith(f": the lean client was compared with litellm {checked}, not with this one")
    assert ", litellm 9.9.9, " in str(found["said"])
    assert found["cure"] == f"pip install litellm=={checked}"
