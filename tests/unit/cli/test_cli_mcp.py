"""``agentctl mcp``: list and show what is configured, add and remove entries of the user's own mcp.json."""

from __future__ import annotations

import json
import re
import shlex
import stat
from pathlib import Path

import pytest

from agentctl.settings.mcp_options import OPTION_KEYS
from agentctl.settings.mcp_values import McpOptions
from tests.support.command_line import KEY, ROOT, Here, loaded_by_all

TOKEN = "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789"[:36]


def own_file(config: Path, text: object) -> Path:
    config.mkdir(exist_ok=True)
    path = config / "mcp.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text, indent=4))
    return path


def entries(path: Path) -> dict[str, object]:
    found = json.loads(path.read_text())["mcpServers"]
    assert isinstance(found, dict)
    return found


def test_without_a_server_the_list_says_how_to_add_one(here: Here) -> None:
    ended = here("mcp", "list")
    assert (ended.code, ended.out, ended.err) == (
        0,
        "no MCP servers; to add one: agentctl mcp add NAME -- COMMAND\n",
        "",
    )
    assert here("mcp", "ls", "--json").document["servers"] == []


def test_a_program_and_an_address_are_added_and_listed(here: Here, config: Path) -> None:
    path = config / "mcp.json"
    ended = here("mcp", "add", "git", "--", "uvx", "mcp-server-git", "--repository", ".")
    assert (ended.code, ended.out, ended.err) == (0, "", f"added git in {path}\n")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()[-2:]) == (0o600, "}\n")
    header = "Authorization: Bearer ${DOCS_TOKEN}"
    ended = here("mcp", "add", "docs", "--url", "https://docs.example/mcp", "-H", header, "-H", "X-Team=a:b=c")
    assert ended.err == f"warning: DOCS_TOKEN is not set; a run with docs needs it\nadded docs in {path}\n"
    ended = here("mcp", "add", "gh", "-e", "A=1", "-e", "T=${HOME}", "--network", "--", "npx", "-y", "server")
    assert entries(path) == {
        "git": {"command": "uvx", "args": ["mcp-server-git", "--repository", "."]},
        "docs": {
            "type": "http",
            "url": "https://docs.example/mcp",
            "headers": {"Authorization": "Bearer ${DOCS_TOKEN}", "X-Team": "a:b=c"},
        },
        "gh": {
            "command": "npx",
            "args": ["-y", "server"],
            "env": {"A": "1", "T": "${HOME}"},
            "agentctl": {"network": True},
        },
    }
    lines = here("mcp", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["server", "git", "docs", "gh"]
    assert lines[1].startswith("git     uvx mcp-server-git --repository .  ready")
    assert "https://docs.example/mcp" in lines[2]
    assert "needs DOCS_TOKEN, not set" in lines[2]


def test_a_server_is_shown_without_its_values(here: Here, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", KEY)
    program = {"command": "uvx", "args": ["--key", "${A_TOKEN}"], "env": {"PLAIN": "value-not-to-be-seen"}}
    options = {"tools": ["a*"], "exclude": ["ab"], "effects": {"a": "read"}, "pin": "ab" * 32, "defer": True}
    path = own_file(config, {"mcpServers": {"a": {**program, "agentctl": options}, "b": {"command": "x", "url": "y"}}})
    ended = here("mcp", "show", "a")
    assert dict(line.split(None, 1) for line in ended.out.splitlines()) == {
        "name": "a",
        "command": "uvx --key [redacted]",
        "env": "PLAIN",
        "from": str(path),
        "state": "ready, not started",
        "tools": "a*, without ab",
        "effects": "a: read",
        "defer": "yes: its tools are found when needed",
        "required": "no",
        "timeouts": "10 s to connect, 60 s for a call",
        "results": "at most 65536 bytes",
        "sandbox": "that of the run",
        "network": "no",
        "write": "nothing",
        "pin": "ab" * 32,
    }
    (server,) = here("mcp", "show", "a", "--json").document["servers"]
    assert (server["args"], server["env"], server["options"]["effects"]) == (
        ["--key", "[redacted]"], ["PLAIN"], {"a": "read"},
    )  # fmt: skip
    assert "not-to-be-seen" not in ended.out + json.dumps(server)
    ended = here("mcp", "show", "b")
    assert (ended.code, ended.out.splitlines()[-2:]) == (
        0, ["state  left out: it has both command and url", "hint   remove one of them"],
    )  # fmt: skip
    document = here("mcp", "show", "b", "--json").document
    assert ([one["name"] for one in document["skipped"]], document["servers"]) == (["b"], [])


def test_the_list_names_what_is_left_out_and_what_has_no_effect(here: Here, config: Path, tmp_path: Path) -> None:
    entry = {"command": "uvx", "arguments": []}
    own_file(config, {"mcpServers": {"a": entry, "b": {"type": "sse", "url": "https://a"}}})
    (tmp_path / ".mcp.json").write_text('{"mcpServers": {"c": {"command": "d"}}}')
    ended = here("mcp", "list")
    assert 'unknown key "arguments" (did you mean "args"?)' in ended.err
    assert "./.mcp.json is not trusted, so this was ignored: MCP server c. To use it: " in ended.err
    assert "left out: type" in ended.out
    document = here("mcp", "list", "--json").document
    assert ([one["name"] for one in document["servers"]], [one["name"] for one in document["skipped"]]) == (
        ["a"],
        ["b"],
    )
    assert len(document["warnings"]) == 1
    only = here("mcp", "list", "--mcp-config", ".mcp.json", "--json").document["servers"]
    assert [(one["name"], one["source"]) for one in only] == [("c", ".mcp.json")]


def test_a_change_keeps_every_other_key_its_order_and_the_indentation(here: Here, config: Path) -> None:
    text = '{\n    "x": 1,\n    "mcpServers": {"b": {"command": "é", "z": [1]}, "a": {}},\n    "inputs": []\n}\n'
    path = own_file(config, text)
    here("mcp", "add", "c", "--", "d")
    here("mcp", "rm", "a")
    expected = {
        "x": 1,
        "mcpServers": {"b": {"command": "é", "z": [1]}, "c": {"command": "d", "args": []}},
        "inputs": [],
    }
    assert path.read_text() == json.dumps(expected, indent=4, ensure_ascii=False) + "\n"


def test_an_existing_server_is_replaced_in_its_place_with_force_only(here: Here, config: Path) -> None:
    path = own_file(config, {"mcpServers": {"a": {"command": "old"}, "b": {"command": "b"}}})
    before = path.read_text()
    ended = here("mcp", "add", "a", "--", "new")
    assert (ended.code, path.read_text()) == (2, before)
    assert ended.err == (
        f'error: the MCP server "a" is in {path} already; nothing was changed\nhint: use --force to replace it\n'
    )
    ended = here("mcp", "add", "a", "--force", "--json", "--", "new")
    assert (ended.code, ended.err) == (0, f"replaced a in {path}\n")
    assert ended.document["changed"] == "a"
    assert list(entries(path)) == ["a", "b"]
    document = here("mcp", "rm", "a", "--json").document
    assert (document["changed"], document["servers"], list(entries(path))) == ("a", [], ["b"])


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        ((), "the name of the server is missing", "agentctl mcp add NAME -- COMMAND, or --url URL"),
        (("a",), "what to start is missing", "agentctl mcp add NAME -- COMMAND, or --url URL"),
        (("a", "https://a.b/c"), "an address is given as the program", "agentctl mcp add a --url https://a.b/c"),
        (("a", "--url", "https://a", "--", "x"), "both a program and --url are given", "give one of them"),
        (("a", "-H", "A=b", "--", "x"), "--header needs --url", "--env K=V gives a variable to a program"),
        (
            ("a", "--url", "https://a", "-e", "A=b"),
            "--env needs a program",
            "--header K=V gives a header to an address",
        ),
        (("a", "--url", "https://a", "--network"), "--network needs a program", "--header K=V"),
        (("a", "-e", KEY, "--", "x"), "--env takes NAME=VALUE", "for example: --env 'API_TOKEN=${API_TOKEN}'"),
        (("a", "-e", "A-B=c", "--", "x"), '"a" cannot be added: env.A-B is not the name of a variable', ""),
        (("a", "--url", "ftp://a"), '"a" cannot be added: url is not an address', ""),
        (("a__b", "--", "x"), '"a__b" cannot be added: its name cannot be used', "rename it"),
        (("a", "uvx", "--with", "b"), "No such option: --with", "behind --: agentctl mcp add NAME -- COMMAND"),
        (("a", "--transport", "http"), "No such option: --transport", "leave it out: a program is started"),
        (("a", "--ulr", "https://a"), "No such option: --ulr", 'did you mean "--url"?'),
    ],
)
def test_what_cannot_be_added_changes_nothing(
    here: Here, config: Path, words: tuple[str, ...], said: str, hint: str
) -> None:
    ended = here("mcp", "add", *words)
    assert (ended.code, ended.out, (config / "mcp.json").exists()) == (2, "", False)
    assert f"error: {said}" in ended.err
    assert hint in ended.err
    assert "not-to-be-seen" not in ended.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("-e", f"GITHUB_TOKEN={TOKEN}", "--", "x"), "--env 'GITHUB_TOKEN=${GITHUB_TOKEN}'"),
        (("-e", f"ANY={TOKEN}", "--", "x"), "--env 'ANY=${ANY}'"),
        (("--url", "https://a", "-H", "Authorization: Bearer abc"), "--header 'Authorization=${AUTHORIZATION}'"),
        (("--url", f"https://a/?api_key={TOKEN}"), "${VAR} in its place reads it from the environment"),
        (("--", "x", "--token", TOKEN), "${VAR} in its place reads it from the environment"),
        (("-e", "GITHUB_TOKEN=${HOME}", "-e", "A=b", "--", "x"), ""),
    ],
)
def test_a_key_that_is_saved_as_text_brings_a_hint(here: Here, words: tuple[str, ...], hint: str) -> None:
    ended = here("mcp", "add", "a", *words)
    assert ended.code == 0
    assert (hint in ended.err) if hint else ("hint: " not in ended.err)
    assert TOKEN not in ended.err


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (("rm",), "the name of the server is missing", "agentctl mcp rm NAME; agentctl mcp list"),
        (("rm", "gti"), 'no MCP server "gti" in ', 'did you mean "git"?'),
        (("rm", "other"), 'no MCP server "other" in ', "servers there: git"),
        (("rm", "toml"), 'the MCP server "toml" is in ', "remove the table [mcp.servers.toml] there by hand"),
        (("show",), "the name of the server is missing", "agentctl mcp show NAME; servers: git, toml"),
        (("show", "gti"), 'no MCP server "gti"', 'did you mean "git"?'),
        (("get", "git"), "No such command 'get'", 'did you mean "show"?'),
        (("remove", "git"), "No such command 'remove'", 'did you mean "rm"?'),
        (("add-json",), "No such command 'add-json'", 'did you mean "add"?'),
    ],
)
def test_a_wrong_word_brings_the_nearest_right_one(
    here: Here, config: Path, words: tuple[str, ...], said: str, hint: str
) -> None:
    own_file(config, {"mcpServers": {"git": {"command": "x"}}})
    (config / "config.toml").write_text('[mcp.servers.toml]\ncommand = "x"\n')
    ended = here("mcp", *words)
    assert (ended.code, ended.out) == (2, "")
    assert f"error: {said}" in ended.err
    assert f"hint: {hint}" in ended.err


def test_nothing_is_removed_from_a_file_that_does_not_exist(here: Here, config: Path) -> None:
    ended = here("mcp", "rm", "git")
    assert (ended.code, list(config.glob("mcp.json*"))) == (2, [])
    assert f"{config}/mcp.json does not exist" in ended.err


@pytest.mark.parametrize("words", [("add", "a", "--", "x"), ("rm", "a")])
def test_a_broken_file_is_never_written(here: Here, config: Path, words: tuple[str, ...]) -> None:
    for text in ('{"mcpServers": {', '{"mcpServers": []}', "[]"):
        path = own_file(config, text)
        assert (here("mcp", *words).code, path.read_text()) == (2, text)
    path.unlink()
    path.symlink_to("elsewhere")
    ended = here("mcp", *words)
    assert (ended.code, "is a symbolic link; agentctl writes only a regular file" in ended.err) == (2, True)


def test_config_check_reads_the_servers_as_a_run_would(here: Here, config: Path) -> None:
    own_file(config, {"mcpServers": {"a": {"command": "x", "env": {"T": "${A_TOKEN}"}}, "b": {}}})
    document = here("config", "check", "--json").document
    assert (document["ok"], len(document["problems"])) == (False, 1)
    assert "env.T needs A_TOKEN, which is not set" in document["problems"][0]
    own_file(config, {"mcpServers": {"a": {"command": "x"}, "b": {}}})
    document = here("config", "check", "--json").document
    assert document["ok"]
    assert any("it has neither command nor url" in note for note in document["notes"])


def test_a_lone_command_is_no_task(here: Here) -> None:
    for words in (("mcp",), ("mcp", "list"), ("mcp", "add")):
        ended = here("run", *words)
        assert (ended.code, 'hint: did you mean "agentctl mcp ' in ended.err) == (2, True)


def test_the_commands_load_no_sdk_and_a_change_loads_no_table() -> None:
    loaded = loaded_by_all(("mcp", "list"), ("mcp", "show", "x"), ("mcp", "rm", "x"))
    assert "agentctl.settings.mcp_servers" in loaded
    assert loaded & {"mcp", "httpx2", "asyncio", "agentctl.runner.assemble", "rich"} == set()


def test_trust_shows_what_a_projects_file_would_start(here: Here, tmp_path: Path) -> None:
    entry = {"command": "uvx", "args": ["x", TOKEN], "env": {"T": "${A_TOKEN}"}, "agentctl": {"network": True}}
    path = tmp_path / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": {"git": entry, "docs": {"url": "https://docs.example/mcp"}}}))
    path.chmod(0o644)
    ended = here("trust", "--yes")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == (
        f"{path} would add the MCP servers: git, docs\n"
        "  git starts in the sandbox of the run: uvx x [redacted], with T\n"
        "  docs sends the arguments of its calls to https://docs.example/mcp\n"
        "  gives them A_TOKEN\n"
        '  MCP server "git" (./.mcp.json): network: a project\'s file cannot set it, so it has no effect\n'
        f"trusted {path}\n"
    )
    assert here("trust", ".mcp.json").err == f"{path} is already trusted\n"
    servers = here("mcp", "list", "--json").document["servers"]
    assert [(one["name"], one["is_users_own"], one["options"]["network"]) for one in servers] == [
        ("git", False, False), ("docs", False, False),
    ]  # fmt: skip
    path.write_text(path.read_text() + " ")
    assert here("mcp", "list", "--json").document["servers"] == []
    (file,) = here("trust", "-y", "--json").document["files"]
    assert (file["path"], file["names"], file["trusted"]) == (str(path), ["git", "docs"], True)
    assert here("trust", "--revoke", ".mcp.json").err == f"no longer trusted: {path}\n"


def test_a_rule_about_a_server_that_is_not_trusted_names_the_cause(here: Here, tmp_path: Path) -> None:
    (tmp_path / ".mcp.json").write_text('{"mcpServers": {"git": {"command": "uvx"}}}')
    for _ in range(2):  # the note is shown once, the cause whenever the run fails for it
        ended = here("run", "--allow", "git__*", "look", script="answer")
        assert ended.code == 2
        assert 'and there is no MCP server "git"' in ended.err
        assert ended.err.endswith(
            "hint: ./.mcp.json has MCP server git, but is not trusted: "
            "agentctl run --mcp-config .mcp.json   or for good: agentctl trust\n"
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be trusted as it is: ./.mcp.json is not JSON: "),
        ("x" * 70_000, "cannot be trusted: it is larger than 64 KiB"),
        ('{"mcpServers": {}}', "has no MCP servers: nothing to trust"),
    ],
)
def test_a_projects_file_that_cannot_be_used_is_not_trusted(here: Here, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / ".mcp.json").write_text(text)
    ended = here("trust", "-y")
    assert said in ended.err
    assert here("trust", "--list", "--json").document["trusted"] == []


PAGE = (ROOT / "docs" / "mcp.md").read_text()
(TYPED,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
(AS_JSON,) = re.findall(r"```text\n(\{.*?)```", PAGE, re.DOTALL)
(AS_TOML,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_the_commands_of_the_page_set_servers_up(here: Here, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCS_TOKEN", KEY)
    for line in TYPED.splitlines():
        ended = here(*shlex.split(line.removeprefix("$ agentctl ")))
        assert ended.code == 0, ended.err
        assert "warning: " not in ended.err
    assert list(entries(config / "mcp.json")) == ["git", "files", "docs"]


def test_the_files_of_the_page_are_one_configuration(here: Here, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCS_TOKEN", KEY)
    own_file(config, AS_JSON)
    first = here("mcp", "list", "--json").document
    (config / "mcp.json").unlink()
    (config / "config.toml").write_text(AS_TOML)
    second = here("mcp", "list", "--json").document
    for document in (first, second):
        assert (document["skipped"], document["warnings"]) == ([], [])
        for server in document["servers"]:
            server.pop("source")
    assert first["servers"] == second["servers"]
    assert len(first["servers"]) == 2


def test_the_page_names_every_option() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
    assert set(rows) == set(OPTION_KEYS)
    read = McpOptions()
    assert (rows["connect_timeout"], rows["call_timeout"]) == (
        f"{read.connect_timeout_s:g}s", f"{read.call_timeout_s:g}s",
    )  # fmt: skip
    assert rows["max_result"] == f"{read.max_result // 1024} KiB"
