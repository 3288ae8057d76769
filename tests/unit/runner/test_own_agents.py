"""Agents of the user's own: where they lie, who replaces whom, and what no file of a project can do."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.runner.agent_catalog import AgentCatalog, load_catalog
from agentctl.runner.agent_choice import AgentChoice, choose_own_agent, parse_values
from agentctl.runner.agent_markdown import parse_markdown_agent
from agentctl.runner.agent_spec import AgentSpec, find_agent, find_named, load_agents
from agentctl.settings import Loaded, load_settings
from agentctl.settings.trust_store import TrustStore
from agentctl.settings.untrusted_files import MOST_BYTES, NoticeMemory, read_project_file

GOOD = 'description = "d"\ninstructions = "i"\ntools = ["read_file"]\n'
SYSTEM = find_agent("system", load_agents())

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load the settings for a project folder, with a config folder beside it."""
    for name in ("conf", "state", "project"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "project")
    environ = {"AGENTCTL_CONFIG_DIR": str(tmp_path / "conf"), "AGENTCTL_STATE_DIR": str(tmp_path / "state")}

    def load(flags: dict[str, object] | None = None, **more: str) -> Loaded:
        return load_settings(flags=flags or {}, environ={**environ, **more})

    return load


def write(place: str, text: str = GOOD) -> Path:
    """Write a file below the folder that holds the project, the working directory."""
    path = Path.cwd().parent / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def trust(*paths: Path) -> None:
    files = [read_project_file(path) for path in paths]
    TrustStore(Path.cwd().parent / "state").grant([file for file in files if file], now=datetime.now(UTC))


def project(name: str, text: str = GOOD, *, trusted: bool = True) -> Path:
    path = write(f"project/.agentctl/agents/{name}", text)
    if trusted:
        trust(path)
    return path


def why(catalog: AgentCatalog, name: str) -> str:
    with pytest.raises(UsageError) as caught:
        catalog.find(name)
    return f"{caught.value.message} | {caught.value.hint}"


def test_agents_are_those_of_package_config_project_and_file_in_this_order(load: Load) -> None:
    for place in ("conf/agents/a.toml", "conf/agents/b.toml"):
        write(place, GOOD.replace('"d"', '"of config"'))
    project("b.toml", GOOD.replace('"d"', '"of project"'))
    project("c.toml", GOOD.replace('"d"', '"of project"'))
    catalog = load_catalog(load(), file=str(write("c.toml", GOOD.replace('"d"', '"of file"'))))
    found = {agent.name: (agent.origin, agent.description) for agent in catalog.agents if agent.origin != "package"}
    assert found == {"a": ("config", "of config"), "b": ("project", "of project"), "c": ("file", "of file")}
    assert [agent.name for agent in catalog.agents] == ["a", "b", "c", "compose", "docker", "system"]
    assert [file.notes for file in catalog.files][-2:] == [
        (),
        (f'{Path.cwd().parent}/c.toml: agent "c" replaces the one of this project',),
    ]


def test_without_tools_an_agent_has_those_of_system_and_with_an_empty_list_none(load: Load) -> None:
    write("conf/agents/a.toml", 'instructions = "i"')
    write("conf/agents/b.toml", 'instructions = "i"\ntools = []')
    catalog = load_catalog(load())
    assert (catalog.find("a").tools, catalog.find("a").more) == (SYSTEM.tools, SYSTEM.more)
    assert (catalog.find("b").tools, catalog.find("b").more) == ((), {})


def test_a_file_with_the_name_of_an_agent_of_the_package_replaces_it_and_says_so(load: Load) -> None:
    write("conf/agents/docker.toml")
    catalog = load_catalog(load())
    assert catalog.find("docker").origin == "config"
    assert catalog.files[0].notes[0].endswith('agent "docker" replaces agentctl\'s own')


def test_of_two_files_with_one_name_in_a_folder_the_second_is_left_out(load: Load) -> None:
    write("conf/agents/a.toml")
    write("conf/agents/b.toml", 'name = "a"\n' + GOOD)
    catalog = load_catalog(load())
    assert [file.agent is not None for file in catalog.files] == [True, False]
    assert 'describes an agent "a", too' in next(iter(catalog.notes()))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + 'openai_api_key = "sk-1"', "names no keys"),
        (GOOD + 'base_url = "http://x"', "names no keys and no servers"),
        (GOOD + "tol = []", 'unknown key "tol"'),
        (GOOD.replace("read_file", "raed_file"), 'did you mean "read_file"'),
        (GOOD + 'deny = ["docker_pss"]', 'did you mean "docker_ps"'),
        (GOOD + 'deny = ["run_shell({{x}})"]', "rules take none"),
        (GOOD + 'allow = ["run_shell(git push {{ branch }})"]', "rules take none"),
        (GOOD + "limits = 3", "limits is not a table"),
        (GOOD + "[limits]\nmax_cost = 1", 'did you mean "max_cost_per_task"'),
        (GOOD + "[limits]\nmax_cost_per_task = -1", "max_cost_per_task"),
        (GOOD + 'sandbox = "off"', "sandbox"),
        (GOOD + 'network = "no"', "network is neither true nor false"),
        (GOOD + 'mcp = ["a b"]', "no name of a server"),
        (GOOD + 'name = "a/b"', "no name for an agent"),
        (GOOD + 'name = "\\u001b[2J"', "no name for an agent"),
        (GOOD.replace('"i"', '"look\\u001b[2J"'), "control or invisible characters"),
        (GOOD.replace('"i"', '"x' + "y" * 1024 * 1024 + '"'), "larger than"),
        (GOOD.replace('"i"', '"' + "y" * MOST_BYTES + '"'), "larger than 64 KiB"),
        ("a = " + "[" * 5000, "cannot be read as an agent"),
    ],
)
def test_a_file_that_is_wrong_is_left_out_and_an_error_for_who_names_it(load: Load, text: str, says: str) -> None:
    write("conf/agents/x.toml", text)
    catalog = load_catalog(load())
    assert [agent.name for agent in catalog.agents] == ["compose", "docker", "system"]
    assert says in why(catalog, "x")
    assert "sk-1" not in why(catalog, "x")
    assert len(list(catalog.notes())) == 1
    with pytest.raises(UsageError):
        load_catalog(load(), file=str(Path.cwd().parent / "conf/agents/x.toml"))


def test_what_is_no_regular_file_is_left_out_without_waiting_for_it(load: Load) -> None:
    folder = write("conf/agents/a.toml").parent
    os.mkfifo(folder / "fifo.toml")
    (folder / "folder.toml").mkdir()
    (folder / "gone.toml").symlink_to("nowhere")
    catalog = load_catalog(load())
    assert {file.name for file in catalog.files if file.error} == {"fifo", "folder", "gone"}
    assert "not a regular file" in why(catalog, "fifo")


@pytest.mark.parametrize("kind", ["fifo", "link", "linked folder", "linked project folder"])
def test_a_project_can_name_no_file_outside_of_its_folder(load: Load, kind: str) -> None:
    outside = write("elsewhere/agents/x.toml")
    here = Path.cwd() / ".agentctl"
    if kind == "linked project folder":
        here.symlink_to(outside.parents[1])
    elif kind == "linked folder":
        here.mkdir()
        (here / "agents").symlink_to(outside.parent)
    else:
        (here / "agents").mkdir(parents=True)
        place = here / "agents" / "x.toml"
        os.mkfifo(place) if kind == "fifo" else place.symlink_to(outside)
    trust(outside)
    catalog = load_catalog(load())
    assert [agent.name for agent in catalog.agents] == ["compose", "docker", "system"]
    assert "no" in why(catalog, "x")


def test_an_untrusted_or_changed_agent_of_the_project_is_not_used_and_said_once(load: Load, tmp_path: Path) -> None:
    path = project("x.toml", trusted=False)
    memory = NoticeMemory(tmp_path / "state")
    catalog = load_catalog(load())
    assert "it is not trusted | read it, then: agentctl trust" in why(catalog, "x")
    assert [len(list(load_catalog(load()).notes(memory))) for _ in range(2)] == [1, 0]
    trust(path)
    assert load_catalog(load()).find("x").origin == "project"
    path.write_text(GOOD + "max_turns = 3")
    assert "has changed since it was trusted" in why(load_catalog(load()), "x")
    assert len(list(load_catalog(load()).notes(memory))) == 1


def choose(
    loaded: Loaded, task: str = "look", *, file: str | None = None, resumed: str | None = None, **params: str
) -> AgentChoice:
    return choose_own_agent(loaded, load_catalog(loaded, file=file), task, params=params, resumed=resumed)


WIDE = """
allow = ["run_shell"]
ask = ["write_file"]
deny = ["docker_rm"]
sandbox = "none"
network = true
model = "gpt-4o-mini"
max_turns = 500

[limits]
max_cost_per_task = 5
max_tokens_per_task = 1000
max_cost_per_hour = 99
timeout = "1m"
"""


def test_an_agent_of_a_project_lowers_and_denies_and_every_other_line_is_refused(load: Load) -> None:
    project("x.toml", GOOD + WIDE)
    loaded = load({"agent": "x"})
    chosen = choose(loaded)
    before, now = loaded.settings, chosen.loaded.settings
    changed = {name: value for name, value in now if value != getattr(before, name)}
    assert changed == {
        "max_tokens_per_task": 1000,
        "timeout": 60.0,
        "ask": ("write_file",),
        "deny": ("docker_rm",),
        "llm_model": "gpt-4o-mini",
    }
    assert chosen.loaded.tightened["timeout"] == Path("./.agentctl/agents/x.toml")
    place = "./.agentctl/agents/x.toml: "
    only = " is refused: a project's agent can only narrow what a run may do"
    rise = " is refused: it would raise the limit, which is "
    assert chosen.notes == (
        f"{place}allow run_shell{only}",
        f"{place}network = true{only}",
        f'{place}sandbox = "none"{only}',
        f"{place}max_cost_per_task = 5{rise}0.50",
        f"{place}max_cost_per_hour = 99{rise}10.0",
    )


def test_an_agent_of_the_users_overrides_the_config_but_neither_flags_nor_the_hour(load: Load) -> None:
    write("conf/agents/x.toml", GOOD + WIDE)
    write("conf/config.toml", 'max_cost_per_task = 0.25\nsandbox = "bwrap"\n')
    now = choose(load({"agent": "x"})).loaded
    assert (now.settings.max_cost_per_task, now.settings.sandbox, now.settings.network) == (Decimal(5), "none", True)
    assert now.settings.allow == ("run_shell",)
    assert str(now.sources["sandbox"]).startswith("agent file ")
    assert now.settings.max_cost_per_hour == Decimal("10.0")
    flags = {"agent": "x", "max_cost_per_task": "0.10", "network": False, "llm_model": "o3", "timeout": "5s"}
    given = choose(load(flags, AGENTCTL_SANDBOX="landlock"))
    kept = given.loaded.settings
    assert (kept.max_cost_per_task, kept.sandbox, kept.network) == (Decimal("0.10"), "landlock", False)
    assert (kept.llm_model, kept.timeout) == ("o3", 5.0)
    assert "max_cost_per_task = 5 is refused: it would raise the limit, which is 0.10" in given.notes[0]


def test_a_projects_agent_that_replaces_the_users_keeps_what_that_one_narrows(load: Load) -> None:
    mine = 'read_only = true\ndeny = ["docker_ps"]\nsandbox = "landlock"\nmax_turns = 4\n[limits]\ntimeout = "1m"\n'
    write("conf/agents/x.toml", GOOD.replace('["read_file"]', '["read_file", "git_status"]') + mine)
    theirs = GOOD.replace('["read_file"]', '["read_file", "run_shell"]') + 'sandbox = "bwrap"\n'
    project("x.toml", theirs + '[limits]\ntimeout = "1h"\n')
    agent = load_catalog(load()).find("x")
    assert (agent.origin, agent.tools, agent.max_turns) == ("project", ("read_file",), 4)
    assert (agent.terms.read_only, agent.terms.deny, agent.terms.sandbox) == (True, ("docker_ps",), "landlock")
    assert agent.terms.limits == {"timeout": 60.0}


def test_a_value_is_put_in_once_and_never_looked_through_again(load: Load) -> None:
    write("conf/agents/x.toml", GOOD.replace('"i"', '"Look at {{a}}, {{ a }} and {{b-2}}; {{.Names}} stays"'))
    chosen = choose(load({"agent": "x"}), "Do {{a}}", **{"a": "{{b-2}} {{a}} \\1", "b-2": "B"})
    assert chosen.agent is not None
    assert chosen.agent.instructions == "Look at {{b-2}} {{a}} \\1, {{b-2}} {{a}} \\1 and B; {{.Names}} stays"
    assert chosen.task == "Do {{b-2}} {{a}} \\1"


@pytest.mark.parametrize(
    ("task", "params", "says"),
    [
        ("look", {}, "{{env}} in the instructions of x has no value | add --param env=VALUE"),
        ("look at {{what}}", {"env": "a"}, "{{what}} in the task has no value | add --param what=VALUE"),
        ("look", {"env": "a", "evn": "b"}, 'the instructions of x have {{evn}} | did you mean "env"?'),
    ],
)
def test_a_parameter_without_a_value_or_a_place_is_exit_2(
    load: Load, task: str, params: dict[str, str], says: str
) -> None:
    write("conf/agents/x.toml", GOOD.replace('"i"', '"Look at {{env}}"'))
    with pytest.raises(UsageError) as caught:
        choose(load({"agent": "x"}), task, **params)
    assert says in f"{caught.value.message} | {caught.value.hint}"


def test_a_task_with_braces_and_without_parameters_stays_as_it_is(load: Load) -> None:
    write("conf/agents/x.toml")
    assert choose(load({"agent": "x"}), "explain {{name}}").task == "explain {{name}}"


@pytest.mark.parametrize("word", ["x", "=v", "a b=c", "1a=c", "{{a}}=c", f"a={'x' * 40_000}"])
def test_a_parameter_is_a_name_and_a_value(word: str) -> None:
    with pytest.raises(UsageError, match="--param"):
        parse_values([word])
    assert parse_values(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(UsageError, match="given twice"):
        parse_values(["a=1", "a=2"])


def test_a_task_is_routed_among_all_agents_and_else_left_to_those_of_the_package(load: Load) -> None:
    write("conf/agents/poet.toml", GOOD.replace('"d"', '"Rhymes and verses"') + 'examples = ["Write a poem on spring"]')
    write("conf/agents/docker.toml", GOOD)
    chosen = choose(load(), "Write a poem on autumn")
    assert (chosen.agent and chosen.agent.name, chosen.chosen_by) == ("poet", "task words")
    other = choose(load(), "How much memory is used?")
    assert (other.agent, [agent.name for agent in other.agents]) == (None, ["compose", "system"])


def test_the_agent_of_a_named_file_is_used_unless_a_flag_names_another(load: Load) -> None:
    file = str(write("mine.md", "---\nname: mine\n---\nLook."))
    assert choose(load(), file=file).agents[0].name == "mine"
    assert choose(load(AGENTCTL_AGENT="docker"), file=file).agents[0].name == "mine"
    assert choose(load({"agent": "docker"}), file=file).agents[0].name == "docker"


def test_a_run_that_goes_on_keeps_its_agent_and_fills_only_that(load: Load) -> None:
    write("conf/agents/x.toml", GOOD.replace('"i"', '"Look at {{env}}"'))
    chosen = choose(load(), "look at {{what}}", resumed="x", env="a", what="b")
    assert (chosen.agent and chosen.agent.instructions, chosen.task) == ("Look at a", "look at {{what}}")


def test_a_setting_may_name_an_agent_of_the_users_own(load: Load) -> None:
    write("conf/agents/x.toml")
    assert find_named("x", load()).origin == "config"
    with pytest.raises(UsageError, match='no agent is called "y"'):
        find_named("y", load())


CLAUDE = """---
name: code-reviewer
description: "Use this agent after code was written. Examples:\\n\\n<example>user: 'check: it'</example>"
tools: Read, Grep, Glob, Bash, WebFetch
model: sonnet
color: red
permissionMode: bypassPermissions
---

You review code.
"""
COPILOT = """---
description: >-
  Plans work,
  then stops
tools: ['read', 'search', "edit", 'execute']
model: gpt-4o-mini
mcp-servers:
  web:
    type: local
    env: {KEY: "${{ secrets.X }}"}
---
You plan.
"""
OPENCODE = """---
description: Writes docs
mode: subagent
temperature: 0.1
tools:
  - list
  - write
  - Bash(git log:*)
permission:
  edit: deny
---
# Docs

You write docs.
"""


def test_an_agent_file_of_another_host_loads_with_a_line_for_what_has_no_effect() -> None:
    claude = parse_markdown_agent(CLAUDE, Path("x.md"), origin="config", defaults=SYSTEM)
    assert claude.agent[:3] == (
        "code-reviewer",
        "Use this agent after code was written. Examples: <example>user: 'check: it'</example>",
        "You review code.",
    )
    assert claude.agent.tools == ("read_file", "search_files", "list_files", "run_shell")
    assert claude.agent.terms.model is None
    assert claude.notes == (
        "x.md: color, permissionMode have no effect here",
        "x.md: agentctl has no tool like WebFetch: left out (agentctl tools list)",
        'x.md: model "sonnet" names no model here; the one of the run is used',
    )
    copilot = parse_markdown_agent(COPILOT, Path("plan.agent.md"), origin="config", defaults=SYSTEM)
    assert (copilot.agent.name, copilot.agent.description) == ("plan", "Plans work, then stops")
    assert (copilot.agent.tools, copilot.agent.terms.model) == (
        ("read_file", "search_files", "run_shell"),
        "gpt-4o-mini",
    )
    assert [note.partition(": ")[2] for note in copilot.notes] == [
        "mcp-servers has no effect here",
        "agentctl has no tool like edit: left out (agentctl tools list)",
    ]
    opencode = parse_markdown_agent(OPENCODE, Path("docs.md"), origin="config", defaults=SYSTEM)
    assert (opencode.agent.tools, opencode.agent.instructions) == (
        ("list_files", "write_file"),
        "# Docs\n\nYou write docs.",
    )
    assert "no tool like Bash(git log:*)" in opencode.notes[1]


def test_a_markdown_file_has_the_tools_that_it_names_or_those_of_system() -> None:
    def tools(line: str) -> tuple[str, ...]:
        text = f"---\nname: a\n{line}\n---\nx"
        agent: AgentSpec = parse_markdown_agent(text, Path("a.md"), origin="config", defaults=SYSTEM).agent
        return (*agent.tools, *agent.more)

    assert tools("") == tools("tools: *") == tools('tools: ["*"]') == (*SYSTEM.tools, *SYSTEM.more)
    assert tools("tools: Task, WebSearch") == tools("tools: []") == tools("tools:") == ()
    everything = ", ".join((*SYSTEM.tools, *SYSTEM.more))
    assert tools(f"tools: {everything}") == (*SYSTEM.tools, *SYSTEM.more)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no front matter", "there is no front matter"),
        ("---\nname: x\nbody", "has no end"),
        ("---\nname: x\n---\n \n", "no instructions"),
        ("---\nname: x\nname: y\n---\nz", "name is given twice"),
        ("---\n- x\n---\nz", "not KEY: VALUE"),
        ("---\nname: &a x\n---\nz", "name is no plain text"),
        ("---\na: &a [x, x]\nname: *a\n---\nz", "name is no plain text"),
        ("---\nname: !!python/object x\n---\nz", "name is no plain text"),
        ("---\ntools: [a, b\n---\nz", "the list of tools has no end"),
        ("---\ntools:\n  write: true\n---\nz", "tools is a table"),
        ("---\nname: [a]\n---\nz", "name is a list"),
        ('---\nname: "x\n---\nz', "a quote has no end"),
    ],
)
def test_front_matter_that_cannot_be_read_is_an_error_with_its_place(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_markdown_agent(text, Path("x.md"), origin="config")


def test_a_bomb_in_front_matter_grows_no_further_than_its_text() -> None:
    levels = "".join(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}, *l{n - 1}]\n" for n in range(1, 2000))
    text = f"---\nname: x\nl0: &l0 lol\n{levels}deep: {'[' * 20000}]\n---\nz"
    read = parse_markdown_agent(text, Path("x.md"), origin="config")
    assert (read.agent.name, read.agent.instructions, len(read.notes)) == ("x", "z", 1)
    assert len(read.notes[0]) < 200


def test_invisible_characters_of_a_file_are_left_out_and_counted(load: Load) -> None:
    write("conf/agents/x.md", "---\nname: x\n---\nLook.\U000e0041\U000e0042\u202e\x1b[2J ::notice::x")
    (file,) = load_catalog(load()).files
    assert file.agent is not None
    assert file.agent.instructions == "Look.[2J ::notice::x"
    assert "4 invisible or control characters were left out" in file.notes[0]


@pytest.mark.parametrize(
    ("flags", "expected", "said"),
    [
        ({}, ("openai", "gpt-4o-mini"), ""),
        ({"llm_provider": "openai"}, ("openai", "gpt-4o-mini"), ""),
        ({"llm_provider": "anthropic"}, ("anthropic", None), "is not used with anthropic (flag"),
        ({"llm_model": "anthropic/claude-opus-4-5"}, ("anthropic", "claude-opus-4-5"), ""),
    ],
)
def test_a_model_with_its_provider_in_a_file_sets_both_unless_another_one_is_named(
    load: Load, flags: dict[str, object], expected: tuple[str, str | None], said: str
) -> None:
    file = write("x.toml", GOOD + 'model = "openai/gpt-4o-mini"\n')
    loaded = load(flags)
    chosen = choose_own_agent(loaded, load_catalog(loaded, file=str(file)), "t", params={})
    settings = chosen.loaded.settings
    assert (settings.llm_provider, settings.llm_model) == expected
    assert said in " ".join(chosen.notes)
