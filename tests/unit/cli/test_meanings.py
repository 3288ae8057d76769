"""Unknown words get the nearest name or what is meant by them, and never one that widens what a run may do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from agentctl.cli.help.pages import TOPIC_MEANINGS, topics
from agentctl.cli.meanings import _COMMANDS, _FLAGS
from agentctl.core.text import WIDENING, is_widening
from agentctl.runner.agent_spec import _MEANINGS as AGENT_MEANINGS
from agentctl.runner.agent_spec import load_agents
from agentctl.settings.names import SETTING_MEANINGS, TOML_FIELDS
from agentctl.settings.provider_names import _MEANINGS as PROVIDER_MEANINGS
from agentctl.settings.provider_names import KNOWN_PROVIDERS, OTHER_PROVIDERS
from agentctl.tools.toolbox import _MEANINGS as TOOL_MEANINGS
from agentctl.tools.toolbox import TOOLS
from tests.support.command_line import Ended
from tests.support.command_parser import ROOT_COMMAND

Here = Callable[..., Ended]


def commands() -> Iterator[tuple[str, set[str]]]:
    """Yield each command's path, without the program, and its long flags."""

    def walk(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, set[str]]]:
        params = getattr(command, "params", ())
        flags = {flag for param in params for flag in (*param.opts, *param.secondary_opts) if flag.startswith("--")}
        yield " ".join(path), flags
        for name, inner in (getattr(command, "commands", None) or {}).items():
            yield from walk(inner, (*path, name))

    return walk(ROOT_COMMAND, ())


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "--system", "x", "y"], "write it into the task: an agent has its own system prompt"),
        (
            ["run", "--session", "7f3a"],
            "agentctl runs resume   goes on with the last run; agentctl runs list   shows the others",
        ),
        (["run", "--budget", "1", "x"], 'did you mean "--max-cost"?'),
        (["run", "--max-budget-usd=1", "x"], 'did you mean "--max-cost"?'),
        (["run", "--max_turn", "3", "x"], 'did you mean "--max-turns"?'),
        (["run", "--dryrun", "x"], 'did you mean "--dry-run"?'),
        (["run", "--cwd", "/tmp", "x"], 'did you mean "--workdir"?'),
        (["run", "-C", "/tmp", "x"], 'did you mean "--workdir"?'),
        (["run", "-p", "why"], 'write the task as words: agentctl run "TASK"'),
        (["-p", "why"], 'write the task as words: agentctl run "TASK"'),
        (["run", "--disallowedTools", "run_shell", "x"], 'did you mean "--deny"?'),
        (["run", "--no-netwrk", "x"], 'did you mean "--no-network"?'),
        (["run", "--yolo", "x"], "agentctl help permission   says what runs, what asks and what is denied"),
        (["costs", "--last-day"], 'did you mean "--since 24h"?'),
        (["costs", "--budget", "3"], 'did you mean "--fail-above"?'),
        (["runs", "list", "-n", "3"], 'did you mean "--limit"?'),
        (["doctor", "--fix"], "agentctl doctor --help"),
        (["models", "--provider", "openai"], "write the provider as a pattern: agentctl models anthropic/"),
        (["login"], 'did you mean "agentctl providers set-key NAME"?'),
        (["auth", "login"], 'did you mean "agentctl providers set-key NAME"?'),
        (["login", "openai"], 'did you mean "agentctl providers set-key openai"?'),
        (["logs"], 'did you mean "agentctl runs show"?'),
        (["logs", "7f3a"], 'did you mean "agentctl runs show 7f3a"?'),
        (["logs", "of", "web"], "did you mean: agentctl run 'logs of web'"),
        (["models", "list", "--jsno"], 'did you mean "--json"?'),
        (["run", "models", "list"], 'did you mean "agentctl models"?'),
        (["run", "login"], 'did you mean "agentctl providers set-key NAME"?'),
        (["sessions", "list"], 'did you mean "agentctl runs list"?'),
        (["plugins", "list"], "agentctl --help"),
        (["run", "--budgt", "3", "x"], 'did you mean "--max-cost"?'),
        (["usage"], 'did you mean "agentctl costs"?'),
        (["ask", "why is it slow"], "did you mean: agentctl run 'why is it slow'"),
        (["runs", "log"], 'did you mean "show"?'),
        (["providers", "login"], 'did you mean "set-key"?'),
        (["config", "validate"], 'did you mean "check"?'),
        (["trsut"], "agentctl --help"),
        (["ledger", "reconcile", "--forc"], "agentctl ledger reconcile --help"),  # not --output, by way of "form"
        (["run", "--write", "x"], "agentctl help permission   says what runs, what asks and what is denied"),
        (["run", "--internet", "x"], "agentctl help permission   says what runs, what asks and what is denied"),
        (["run", "--netwrok", "x"], "agentctl run --help"),  # not --no-network, the opposite
        (["run", "--nocolor", "x"], 'did you mean "--color never"?'),
        (["run", "--hlep"], 'did you mean "--help"?'),
        (["costs", "--las-day"], 'did you mean "--since 24h"?'),
        (["run", "--jsonl", "x"], 'did you mean "--output jsonl"?'),  # not --json
        (["costs", "--csv"], 'did you mean "--output csv"?'),
        (["run", "--num-ctx", "9", "x"], 'did you mean "--max-context-tokens"?'),
        (["docker", "ps"], "did you mean: agentctl run 'docker ps'"),  # not doctor
        (["docker"], 'did you mean "agentctl run --agent docker TASK"?'),
        (["budget", "split", "1.00"], "agentctl help fleet"),  # not a paid task of these words
        (["providers", "use", "openai"], 'did you mean "agentctl config set llm_provider NAME"?'),
        (["help", "permisions"], 'did you mean "permission"?'),
        (["help", "keys"], 'did you mean "setup"?'),
        (["config", "get", "budget"], 'did you mean "max_cost_per_task"?'),
        (["providers", "set-key", "claude"], 'did you mean "anthropic"?'),
        (["tools", "show", "docker_list"], 'did you mean "docker_ps"?'),
        (["agents", "show", "containers"], 'did you mean "docker"?'),
    ],
)
def test_a_word_of_another_tool_gets_what_it_means_here(here: Here, words: list[str], hint: str) -> None:
    ended = here(*words)
    assert (ended.code, ended.out, ended.err.splitlines()[1]) == (2, "", f"hint: {hint}")


@pytest.mark.parametrize("flag", ["yess", "alow", "allowe", "aprove", "sandbx", "netwrk", "network-access", "ye"])
def test_a_misspelt_flag_that_widens_is_not_completed(here: Here, flag: str) -> None:
    ended = here("run", f"--{flag}", "x")
    assert (ended.code, ended.err) == (2, f"error: No such option: --{flag}\nhint: agentctl run --help\n")


@pytest.mark.parametrize("tool", ["docker_stp", "docker_rn", "docker_exce", "run_shel", "write_fil", "docker_rim"])
def test_a_misspelt_tool_that_changes_something_is_not_completed(here: Here, tool: str) -> None:
    for words in (("tools", "show", tool), ("policy", "check", "docker_ps", "--allow", tool)):
        ended = here(*words)
        assert (ended.code, "did you mean" in ended.err) == (2, False)
        assert "hint: agentctl tools list   lists the tools" in ended.err


def test_a_key_behind_an_unknown_word_is_not_repeated(here: Here) -> None:
    key = "sk-ant-not-to-be-seen-1234567890"
    for words in (("login", key), ("key", key), ("run", f"--api-key={key}", "x"), ("run", "--token", key, "x")):
        ended = here(*words)
        assert (ended.code, key in ended.out + ended.err) == (2, False)
        assert "agentctl providers set-key NAME" in ended.err


def test_every_tool_that_changes_something_is_on_the_list_of_what_widens() -> None:
    places = {name: place.partition(":") for name, place in TOOLS.items()}
    effects = {name: getattr(import_module(module), tool).effect for name, (module, _, tool) in places.items()}
    changing = {name for name, effect in effects.items() if effect != "read"}
    assert changing == {name for name in WIDENING if name in TOOLS}


def test_every_meaning_is_a_name_that_exists() -> None:
    known = dict(commands())
    groups = {path for path in known if " " not in path}
    for place, meant, words in _FLAGS:
        assert place in known or place in ("", "agentctl")
        if meant.startswith("--"):
            flag = meant.split()[0]
            within = known[place] if place else set().union(*known.values())
            assert flag in within | {"--max-cost", "--max-tokens", "--task-file"}
            assert not is_widening(flag)
            assert not {f"--{word}" for word in words.split()} & (known[place] if place else set())
    for group, meant, words in _COMMANDS:
        assert group in groups
        path = re.sub(r" (NAME|TASK|--|llm_provider).*", "", meant.partition("   ")[0].removeprefix("agentctl "))
        path = path if meant.startswith("agentctl") else f"{group} {meant}"
        assert path.startswith("help") or path == "completion bash" or path in known, meant
        assert not {f"{group} {word}".strip() for word in words.split()} & known.keys()


@pytest.mark.parametrize(
    ("meanings", "known"),
    [
        (TOPIC_MEANINGS, set(topics())),
        (AGENT_MEANINGS, {agent.name for agent in load_agents()}),
        (SETTING_MEANINGS, {*TOML_FIELDS}),
        (PROVIDER_MEANINGS, {*KNOWN_PROVIDERS, *OTHER_PROVIDERS}),
        (TOOL_MEANINGS, {*TOOLS}),
    ],
    ids=["topics", "agents", "settings", "providers", "tools"],
)
def test_a_meaning_of_another_tool_leads_to_a_name_here(meanings: dict[str, str], known: set[str]) -> None:
    assert set(meanings.values()) <= known - WIDENING
    assert not meanings.keys() & known


def test_an_unknown_run_id_gets_the_nearest_one(here: Here, state: Path) -> None:
    here("run", "--provider", "builtin", "How much memory is free?")
    run_id = next((state / "runs").glob("*.jsonl")).name.partition(".")[0]
    typed = run_id[:5] + run_id[6] + run_id[5] + run_id[7:]
    hint = f'did you mean "{run_id}"?' if typed != run_id else ""
    assert hint in here("runs", "show", typed).err
