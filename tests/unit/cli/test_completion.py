"""What a shell is offered at TAB, for each kind of value; by fish's form, which has the descriptions."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Ended

Here = Callable[..., Ended]
Offer = Callable[[str], Ended]


@pytest.fixture
def offer(here: Here, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Ask as the script of fish does, with the line up to the cursor."""

    def ask(line: str, shell: str = "fish") -> Ended:
        monkeypatch.setenv("_AGENTCTL_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        try:
            return here()
        finally:
            monkeypatch.delenv("_AGENTCTL_COMPLETE")

    return ask


def words(ended: Ended) -> list[str]:
    assert ended.err == ""
    return [line.partition("\t")[0] for line in ended.out.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("agentctl co", ["costs", "config", "completion"]),
        ("agentctl ledger ", ["check", "reconcile", "reprice", "migrate", "import"]),
        ("agentctl run --max-t", ["--max-tokens-per-task", "--max-turns"]),
        ("agentctl run --provider open", ["openai", "openrouter"]),
        ("agentctl run --provider=open", ["--provider=openai", "--provider=openrouter"]),
        ("agentctl providers test mistr", ["mistral"]),
        ("agentctl providers set-key a", ["anthropic"]),
        ("agentctl ledger reconcile --provider groq", ["groq"]),
        ("agentctl mcp ", ["list", "show", "add", "rm", "test", "tools", "call", "pin", "serve"]),
        ("agentctl run --agent ", ["compose", "docker", "system"]),
        ("agentctl agents show s", ["system"]),
        ("agentctl tools show docker_ps", ["docker_ps"]),
        ("agentctl run --tools docker_ps,docker_ps", []),
        ("agentctl run --tools docker_ps,docker_lo", ["docker_ps,docker_logs"]),
        ("agentctl run --deny run_sh", ["run_shell"]),
        ("agentctl policy check git_st", ["git_status"]),
        ("agentctl costs --by model,d", ["model,day"]),
        ("agentctl costs --by mo", ["model"]),
        ("agentctl ledger reprice --by pro", ["provider"]),
        ("agentctl runs list --status bud", ["budget"]),
        ("agentctl runs list --status done,unf", ["done,unfinished"]),
        ("agentctl costs --since 7", ["7d"]),
        ("agentctl costs --timezone Europe/Berl", ["Europe/Berlin"]),
        ("agentctl help exit", ["exit-codes"]),
        ("agentctl config get max_tu", ["max_turns"]),
        ("agentctl config set max_tu", ["max_turns"]),
        ("agentctl config set approve ", ["ask", "deny", "all", "defer"]),
        ("agentctl config set read_only t", ["true"]),
        ("agentctl config set llm_provider olla", ["ollama"]),
        ("agentctl config set agent d", ["docker"]),
        ("agentctl config set max_turns ", []),
        ("agentctl run --approve ", ["ask", "deny", "all", "defer"]),
        ("agentctl run --output js", ["json", "jsonl"]),
        ("agentctl run --format js", ["json", "jsonl"]),
        ("agentctl run --format=js", ["--format=json", "--format=jsonl"]),
        ("agentctl run -- --pro", []),
        ("agentctl completion ", ["bash", "zsh", "fish", "man"]),
        ("agentctl run --max-turns ", []),
        ("agentctl run ", []),
    ],
)
def test_a_value_is_offered_by_what_it_means(offer: Offer, line: str, expected: list[str]) -> None:
    assert words(offer(line)) == expected


def test_models_are_offered_for_the_provider_that_is_given_or_typed(offer: Offer) -> None:
    assert words(offer("agentctl run --provider openai --model gpt-4o-mini"))[0] == "gpt-4o-mini"
    assert "claude-haiku-4-5" in words(offer("agentctl run --model claude-haiku-4"))
    assert words(offer("agentctl run -m anthropic/claude-haiku-4-5"))[0] == "anthropic/claude-haiku-4-5"
    assert words(offer("agentctl run -m ollama/")) == ["ollama/llama3.1:latest"]
    assert words(offer("agentctl run --provider ollama -m ")) == ["llama3.1:latest"]
    assert "openai/gpt-4o-mini" in words(offer("agentctl run --model "))
    assert "gpt-4o" in words(offer("agentctl models gpt-4"))
    assert words(offer("agentctl run --provider nothing --model ")) == []


def test_runs_are_offered_with_how_they_ended_and_their_task(here: Here, offer: Offer) -> None:
    assert words(offer("agentctl runs show ")) == []
    run_id = here("run", "look around\nand further", "--json", script="tools").document["run_id"]
    for command in ("show", "resume", "export", "watch"):
        assert offer(f"agentctl runs {command} ").out == f"{run_id}\tdone: look around and further\n"
    assert words(offer(f"agentctl runs diff {run_id} ")) == words(offer("agentctl runs diff ")) == [run_id]
    assert words(offer(f"agentctl costs --run {run_id[:4]}")) == [run_id]
    assert words(offer(f"agentctl ledger reconcile --run {run_id[:4]}")) == [run_id]


def test_labels_of_past_runs_are_offered(here: Here, offer: Offer) -> None:
    assert words(offer("agentctl runs list --label te")) == []
    assert here("run", "look", "--label", "team=web", script="answer").code == 0
    for command in ("runs list", "costs", "run"):
        assert offer(f"agentctl {command} --label te").out == "team=web\tlook\n"


def test_a_description_stands_beside_each_word_and_is_not_cut(offer: Offer) -> None:
    about = "Show what was spent in a window, and what is left of each limit now."
    assert f"costs\t{about}\n" in offer("agentctl ").out
    assert "max_turns\tlimit the turns of one run" in offer("agentctl config get max_turns").out


@pytest.mark.parametrize("flag", ["-i", "--input", "--config", "--env-file"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_file_is_left_to_the_shell_and_a_number_is_not(offer: Offer, shell: str, flag: str) -> None:
    ask: Callable[..., Ended] = offer
    assert ask(f"agentctl run {flag} /et", shell).code == 101
    assert ask("agentctl run --workdir /et", shell).code == 102
    assert ask("agentctl trust /et", shell).code == 102
    assert ask("agentctl run --max-turns 1", shell) == Ended(0, "\n", "")


def test_wrong_settings_and_a_torn_table_offer_nothing_and_say_nothing(
    offer: Offer, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTCTL_MAX_TURNS", "many")
    monkeypatch.setenv("OPENAI_API_KEY", "sk not a key")
    assert words(offer("agentctl run --provider opena")) == ["openai"]
    assert words(offer("agentctl runs show ")) == []
    (state / "runs").mkdir(parents=True)
    (state / "runs" / "x.jsonl").write_bytes(b"\xff\n")
    assert offer("agentctl runs show ").err == ""
    monkeypatch.setenv("AGENTCTL_STATE_DIR", "relative")
    assert offer("agentctl runs show ").err == ""
    assert not os.path.lexists("relative")


def test_bash_offers_the_commands_behind_the_name_alone(offer: Offer) -> None:
    asked: Callable[..., Ended] = offer
    assert asked("agentctl ", "bash").out.split()[:2] == ["run", "costs"]
    assert asked("agentctl nosuch ", "bash") == Ended(0, "\n", "")


def test_an_older_run_than_those_listed_is_offered_once_its_id_has_begun(offer: Offer, state: Path) -> None:
    (state / "runs").mkdir(parents=True)
    for number in range(60):
        path = state / "runs" / f"{number:02}aa.jsonl"
        path.write_bytes(b"{}\n")
        os.utime(path, (number, number))
    assert {*words(offer("agentctl runs show "))} == {f"{number}aa" for number in range(10, 60)}
    assert words(offer("agentctl runs show 03")) == ["03aa"]


def test_settings_that_never_come_end_the_completion(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentctl.cli.completion.candidates._MOST_S", 0.05)
    reading, writing = os.pipe()
    monkeypatch.setattr("agentctl.cli.completion.candidates._settings", lambda: os.read(reading, 1))
    before = signal.getsignal(signal.SIGALRM)
    assert offer("agentctl runs show ") == Ended(0, "\n", "")
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0]) == (before, 0.0)
    os.close(reading)
    os.close(writing)


def test_scripts_of_older_versions_get_words_as_before(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AGENTCTL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "agentctl run --provider ope")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert here().out.split() == ["openai", "openrouter"]


def test_version_before_the_cursor_is_not_printed_as_a_word(offer: Offer) -> None:
    assert words(offer("agentctl --version ru")) == ["run", "runs"]


def test_servers_are_offered_by_name_with_what_they_start(offer: Offer, config: Path) -> None:
    config.mkdir(exist_ok=True)
    entries = {"git": {"command": "uvx", "args": ["mcp-server-git"]}, "gone": {}}
    (config / "mcp.json").write_text(json.dumps({"mcpServers": entries}))
    assert offer("agentctl mcp show g").out.splitlines() == ["git\tuvx mcp-server-git", "gone\tleft out"]
    assert words(offer("agentctl mcp rm gi")) == ["git"]
