"""MCP servers: where they are configured, what an entry may say, and what a project's file cannot loosen."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import UsageError
from agentctl.settings import Loaded, Settings, load_settings
from agentctl.settings.mcp_entries import ENTRY_KEYS, EntryPlace, read_entry
from agentctl.settings.mcp_options import OPTION_KEYS
from agentctl.settings.mcp_servers import (
    McpConfig,
    McpOptions,
    McpServer,
    load_mcp_config,
    read_mcp_config,
)
from agentctl.settings.show import explain, format_for_set
from agentctl.settings.trust_store import TrustStore
from agentctl.settings.untrusted_files import read_project_file
from tests.support.desk import Desk

GIT = {"command": "uvx", "args": ["mcp-server-git"]}
DOCS = {"type": "http", "url": "https://docs.example/mcp", "headers": {"Authorization": "Bearer ${DOCS_TOKEN}"}}
PIN = "ab" * 32


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("HOME", str(tmp_path))
    desk = Desk(tmp_path)
    monkeypatch.chdir(desk.cwd)
    return desk


def write_own(desk: Desk, **servers: object) -> Path:
    path = desk.config / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def write_project(desk: Desk, **servers: object) -> Path:
    return desk.file(".mcp.json", json.dumps({"mcpServers": servers}))


def trust(desk: Desk, path: Path) -> None:
    file = read_project_file(path)
    assert file is not None
    TrustStore(desk.state).grant([file], now=datetime(2026, 11, 30, tzinfo=UTC))


def read(desk: Desk, environ: dict[str, str] | None = None, **flags: object) -> McpConfig:
    return load_mcp_config(desk.load(environ, flags=flags))


def read_one(desk: Desk, entry: object, environ: dict[str, str] | None = None) -> McpConfig:
    write_own(desk, git=entry)
    return read(desk, environ)


def text_of(*servers: str) -> str:
    return json.dumps({"mcpServers": {name: {"command": name} for name in servers}})


def test_without_any_configuration_there_is_no_server(desk: Desk) -> None:
    loaded = desk.load()
    assert not loaded.has_mcp
    assert load_mcp_config(loaded) == McpConfig()


def test_the_json_of_other_hosts_is_read_as_it_is(desk: Desk) -> None:
    git = {**GIT, "env": {"PORT": 8080, "DEBUG": True}, "description": "x", "autoApprove": ["git_log"], "timeout": 60}
    place = str(write_own(desk, git=git, docs=DOCS))
    found = read(desk, {"DOCS_TOKEN": "tok-0123456789"})
    assert [server._asdict() for server in found.servers] == [
        McpServer("git", "uvx", ("mcp-server-git",), {"PORT": "8080", "DEBUG": "true"}, source=place)._asdict(),
        McpServer(
            "docs", url="https://docs.example/mcp", headers={"Authorization": "Bearer tok-0123456789"}, source=place
        )._asdict(),
    ]
    assert (found.skipped, found.warnings, found.secrets) == ((), (), ("tok-0123456789",))
    assert [server.is_remote for server in found.servers] == [False, True]
    assert "tok-0123456789" not in f"{found!r} {found.servers!r}"


@pytest.mark.parametrize("kind", ["streamable-http", "streamableHttp", "HTTP"])
def test_each_name_of_streamable_http_is_read(desk: Desk, kind: str) -> None:
    assert read_one(desk, {"type": kind, "url": "http://127.0.0.1:8000/mcp"}).servers[0].is_remote


def test_every_option_is_read_in_both_spellings(desk: Desk) -> None:
    (desk.cwd / "out").mkdir()
    options = {
        **{"tools": ["git_*"], "exclude": "git_push", "effects": {"git_log": "read", "*": "write"}, "defer": True},
        **{"required": True, "connect_timeout": "2s", "callTimeout": 1.5, "maxResult": "8 KiB", "sandbox": "none"},
        **{"network": True, "write": ["out", "."], "pin": f"sha256:{PIN.upper()}", "trustAnnotations": True},
    }
    (server,) = read_one(desk, {**GIT, "agentctl": options}).servers
    assert server.options == McpOptions(
        tools=("git_*",),
        exclude=("git_push",),
        effects={"git_log": "read", "*": "write"},
        trust_annotations=True,
        defer=True,
        required=True,
        connect_timeout_s=2.0,
        call_timeout_s=1.5,
        max_result=8192,
        sandbox="none",
        network=True,
        write=(desk.cwd / "out", desk.cwd),
        pin=PIN,
    )
    (server,) = read_one(desk, {**GIT, "agentctl": {"effects": "read"}}).servers
    assert server.options == McpOptions(effects={"*": "read"})


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ([], "it is not an object"),
        ({}, "it has neither command nor url"),
        ({"cmd": "uvx"}, "it has neither command nor url"),
        ({"command": "a", "url": "https://a"}, "it has both command and url"),
        ({"command": ""}, "command is empty"),
        ({"command": 7}, "command is not a text"),
        ({"command": "a\0"}, "command has a NUL character in it"),
        ({**GIT, "args": "mcp-server-git"}, "args is not a list"),
        ({**GIT, "args": [None]}, "args[0] is not a text"),
        ({**GIT, "env": ["A=b"]}, "env is not an object"),
        ({**GIT, "env": {"A-B": "c"}}, "env.A-B is not the name of a variable"),
        ({**GIT, "env": {"A": None}}, "env.A is not a text"),
        ({**GIT, "env": {"AGENTCTL_PARENT_RUN": "x"}}, "env.AGENTCTL_PARENT_RUN is set by agentctl itself"),
        ({**GIT, "env": {"X": "${AGENTCTL_PARENT_CAPABILITY}"}}, "it asks for AGENTCTL_PARENT_CAPABILITY"),
        ({**GIT, "disabled": True}, "it is disabled in the file"),
        ({**GIT, "type": "http"}, 'it has no url, which type "http" needs'),
        ({"type": "stdio", "url": "https://a"}, 'it has no command, which type "stdio" needs'),
        ({"type": "sse", "url": "https://a/sse"}, 'type "sse" is the transport'),
        ({"type": "websocket", "url": "wss://a"}, 'type cannot be "websocket"'),
        ({"url": "ftp://a/b"}, "url is not an address"),
        ({"url": "https://a/b#c"}, "url is not an address"),
        ({"url": "https://a:99999/"}, "url is not an address"),
        ({"url": "https://a", "headers": {"X Y": "z"}}, "headers.X Y is not the name of a header"),
        ({"url": "https://a", "headers": {"Host": "b"}}, "headers.Host is set by the protocol itself"),
        ({"url": "https://a", "headers": {"X": "a\nb"}}, "headers.X has characters that a header cannot carry"),
        ({**GIT, "agentctl": 1}, '"agentctl" must be an object'),
        ({**GIT, "agentctl": {"pin": "abc"}}, 'pin cannot be "abc"'),
        ({**GIT, "agentctl": {"effects": "reed"}}, 'effects cannot be "reed"'),
        ({**GIT, "agentctl": {"effects": {"": "read"}}}, "effects cannot be"),
        ({**GIT, "agentctl": {"sandbox": "off"}}, 'sandbox cannot be "off"'),
        ({**GIT, "agentctl": {"network": "maybe"}}, 'network cannot be "maybe"'),
        ({**GIT, "agentctl": {"tools": [1]}}, 'tools cannot be "[1]"'),
        ({**GIT, "agentctl": {"connect_timeout": 0}}, 'connect_timeout cannot be "0"'),
        ({**GIT, "agentctl": {"call_timeout": "2d"}}, 'call_timeout cannot be "2d"'),
        ({**GIT, "agentctl": {"max_result": "1 GiB"}}, 'max_result cannot be "1 GiB"'),
        ({**GIT, "agentctl": {"max_result": True}}, 'max_result cannot be "True"'),
        ({**GIT, "agentctl": {"maxResult": 2048, "max_result": 4096}}, '"agentctl" has max_result twice'),
        ({**GIT, "agentctl": {"write": ["/etc"]}}, "write cannot be"),
        ({**GIT, "agentctl": {"write": ["~"]}}, "write cannot be"),
    ],
)
def test_a_broken_entry_hides_no_other_and_says_why(desk: Desk, entry: object, why: str) -> None:
    path = write_own(desk, bad=entry, git=GIT)
    found = read(desk)
    assert [server.name for server in found.servers] == ["git"]
    ((name, said, _, source),) = found.skipped
    assert (name, source) == ("bad", str(path))
    assert said.startswith(why)


@pytest.mark.parametrize("name", ["", "my server", "a.b", "a__b", "git_", "x" * 41, "é"])
def test_a_name_that_could_stand_for_tools_of_another_is_refused(desk: Desk, name: str) -> None:
    write_own(desk, **{name: GIT, "ok-1_x": GIT})
    found = read(desk)
    assert [server.name for server in found.servers] == ["ok-1_x"]
    assert found.skipped[0].why.startswith("its name cannot be used")


@pytest.mark.parametrize(
    ("entry", "warning"),
    [
        ({**GIT, "arguments": []}, 'unknown key "arguments" (did you mean "args"?)'),
        ({**GIT, "evn": {}}, 'unknown key "evn" (did you mean "env"?)'),
        ({**GIT, "required": True}, 'unknown key "required" (move required into "agentctl": {})'),
        ({**GIT, "cwd": "/x"}, 'unknown key "cwd" (a server starts in the workspace)'),
        ({**GIT, "agentctl": {"exclud": []}}, '"agentctl" has an unknown key "exclud" (did you mean "exclude"?)'),
        ({**GIT, "agentctl": {"disabledTools": []}}, '"agentctl" has an unknown key "disabledTools" (did you mean "ex'),
        ({**GIT, "agentctl": {"write": ["nowhere"]}}, "write"),
        ({"command": "npx -y server"}, 'command has blanks in it: put its arguments into "args"'),
        ({**GIT, "args": ["${input:token}"]}, "${input:token} is not replaced"),
        ({"url": "http://docs.example/mcp", "headers": {"X": "y"}}, "its headers are sent without encryption"),
        ({"url": "https://docs.example/mcp", "env": {"X": "y"}}, "env has no effect beside url"),
    ],
)
def test_what_has_no_effect_is_a_warning_and_the_server_stays(desk: Desk, entry: object, warning: str) -> None:
    found = read_one(desk, entry)
    assert [server.name for server in found.servers] == ["git"]
    (said,) = found.warnings
    assert warning in said
    assert said.startswith(f'MCP server "git" ({desk.config}/mcp.json): ')


def test_references_are_replaced_in_every_text(desk: Desk) -> None:
    entry = {
        "command": "${RUNNER:-uvx}",
        "args": ["--root=${ROOT}", "${EMPTY:-d}", "$HOME", "${a"],
        "env": {"A": "${ROOT}"},
    }
    (server,) = read_one(desk, entry, {"ROOT": "/srv", "EMPTY": ""}).servers
    assert (server.command, server.args) == ("uvx", ("--root=/srv", "d", "$HOME", "${a"))
    assert server.env == {"A": "/srv"}
    (remote,) = read_one(desk, {"url": "https://${HOST}/mcp"}, {"HOST": "docs.example"}).servers
    assert remote.url == "https://docs.example/mcp"


def test_a_variable_of_the_users_env_file_is_known(desk: Desk) -> None:
    desk.user_env("DOCS_TOKEN=tok-from-the-file\n")
    write_own(desk, docs=DOCS)
    assert read(desk).servers[0].headers == {"Authorization": "Bearer tok-from-the-file"}
    assert read(desk, {"DOCS_TOKEN": "tok-stronger"}).servers[0].headers == {"Authorization": "Bearer tok-stronger"}


def test_an_unset_variable_is_an_error_that_names_server_and_variable(desk: Desk) -> None:
    path = write_own(
        desk, docs=DOCS, git={**GIT, "env": {"T": "${A_TOKEN}"}}, off={**GIT, "disabled": True, "env": {"X": "${B}"}}
    )
    with pytest.raises(UsageError) as caught:
        read(desk)
    assert caught.value.message.splitlines() == [
        "2 variables of MCP servers are not set:",
        f'  MCP server "docs" ({path}): headers.Authorization needs DOCS_TOKEN, which is not set',
        f'  MCP server "git" ({path}): env.T needs A_TOKEN, which is not set',
    ]
    assert caught.value.hint == (
        "set DOCS_TOKEN, A_TOKEN in the environment or in your .env, or write a default: ${DOCS_TOKEN:-}"
    )
    with pytest.raises(UsageError, match=r'^MCP server "docs" \(.*\): headers.Authorization needs DOCS_TOKEN'):
        read(desk, {"A_TOKEN": "x"})
    found = read_mcp_config(desk.load())
    assert [(one.server, one.variable) for one in found.unset] == [("docs", "DOCS_TOKEN"), ("git", "A_TOKEN")]


def test_secrets_are_what_came_from_variables_and_what_is_one_by_its_name(desk: Desk) -> None:
    entry = {
        "url": "https://user:pass-word-1@docs.example/mcp?api_key=query-key-1&page=a-long-page-name",
        "headers": {"Authorization": "Bearer literal-token", "X-Team": "platform-team", "X-Any": "${TEAM}"},
    }
    found = read_one(desk, entry, {"TEAM": "from-a-variable"})
    assert {*found.secrets} == {*("pass-word-1", "query-key-1", "literal-token", "from-a-variable")}
    program: dict[str, Any] = {
        "command": "uvx",
        "args": ["--token", "${MY_TOKEN}", "${ROOT_NAME}"],
        "env": {
            "GITHUB_TOKEN": "ghp-literal",
            "HOME": "${HOME}",
            "U": "${PLAIN_URL}",
            "W": "${WHERE}",
            "K": "${OPAQUE}",
        },
    }
    variables = {"MY_TOKEN": "my-token-1", "ROOT_NAME": "some-root-name", "PLAIN_URL": "https://git.example"}
    found = read_one(desk, program, {**variables, "WHERE": str(desk.cwd), "OPAQUE": "opaque-value"})
    assert {*found.secrets} == {"my-token-1", "ghp-literal", "opaque-value"}


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("{", "is not JSON: ", "for example"),
        ('{"mcpServers": {}} // x', "is not JSON: ", "JSON has no comments: remove them"),
        ('{"mcpServers": {"a": {}, "a": {}}}', 'an object has the key "a" twice', "for example"),
        ("[]", "it is not a JSON object", "for example"),
        ('{"servers": {}}', 'has no "mcpServers"', 'did you mean "mcpServers"?'),
        ("{}", 'has no "mcpServers"', '{"mcpServers": '),
        ('{"mcpServers": []}', "is not an object", "for example"),
    ],
)
def test_a_file_that_is_not_such_json_stops_the_run(desk: Desk, text: str, said: str, hint: str) -> None:
    path = desk.config / "mcp.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read(desk)
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert hint in caught.value.hint
    with pytest.raises(UsageError) as caught:
        read(desk, mcp_config=[str(path)])
    assert said in caught.value.message


def test_other_keys_beside_the_servers_belong_to_other_hosts(desk: Desk) -> None:
    (desk.config / "mcp.json").write_text(json.dumps({"inputs": [], "theme": "dark", "mcpServers": {"git": GIT}}))
    assert read(desk).warnings == ()


def test_a_required_server_that_cannot_be_used_stops_the_run(desk: Desk) -> None:
    write_own(desk, docs={"type": "sse", "url": "https://a", "agentctl": {"required": True}})
    with pytest.raises(UsageError, match=r'^MCP server "docs" \(.*\) is required and cannot be used: type "sse"'):
        read(desk)
    assert len(read_mcp_config(desk.load(), strict=False).skipped) == 1
    write_own(desk, docs={"command": "a", "disabled": True, "agentctl": {"required": True}})
    assert read(desk).skipped[0].why == "it is disabled in the file"


def test_toml_takes_the_same_keys(desk: Desk) -> None:
    desk.user_toml(
        'max_turns = 7\n[mcp.servers.git]\ncommand = "uvx"\nargs = ["mcp-server-git"]\nenv = { T = "${T_TOKEN}" }\n'
        "[mcp.servers.git.agentctl]\nconnect_timeout = 2.5\nnetwork = true\n"
    )
    loaded = desk.load({"T_TOKEN": "secret-of-toml"})
    found = load_mcp_config(loaded)
    (server,) = found.servers
    assert (server.command, server.env, server.options.connect_timeout_s) == ("uvx", {"T": "secret-of-toml"}, 2.5)
    assert server.source == f"{desk.config}/config.toml [mcp.servers]"
    row = next(row for row in explain(loaded) if row.name == "mcp")
    assert (row.value, row.is_set, format_for_set("mcp", loaded.settings.mcp)) == ("git", True, "git")
    write_own(desk, git={"command": "other"})
    found = read(desk, {"T_TOKEN": "x"})
    assert [server.command for server in found.servers] == ["other"]
    assert found.warnings == (
        f'MCP server "git" ({desk.config}/config.toml [mcp.servers]) has no effect: {desk.config}/mcp.json has it, too',
    )


@pytest.mark.parametrize("text", ["mcp = 3\n", '[mcp.git]\ncommand = "uvx"\n', "[mcp]\nservers = 3\n"])
def test_a_table_that_is_none_of_servers_stops_a_run(desk: Desk, text: str) -> None:
    desk.user_toml(text)
    assert "a table for each server, such as [mcp.servers.git]" in desk.refusal().message


def test_flags_replace_the_users_own_servers_unless_they_are_asked_for(desk: Desk) -> None:
    write_own(desk, git=GIT, own=GIT)
    desk.file("a.json", text_of("git", "a"))
    flags = ["a.json", text_of("a", "b")]
    assert [(one.name, one.source) for one in read(desk, mcp_config=flags).servers] == [
        ("a", "--mcp-config"), ("b", "--mcp-config"), ("git", "a.json"),
    ]  # fmt: skip
    both = read(desk, mcp_config=flags, mcp_also_user=True)
    assert [server.name for server in both.servers] == ["a", "b", "git", "own"]
    assert (both.skipped, both.warnings) == ((), ()), "a flag replaces without a word"
    named = read(desk, {"AGENTCTL_MCP_CONFIG": str(desk.cwd / "a.json")})
    assert [server.name for server in named.servers] == ["git", "a"]
    assert [server.source for server in read(desk, {"AGENTCTL_MCP_CONFIG": text_of("c")}).servers] == [
        "AGENTCTL_MCP_CONFIG"
    ]


def test_a_file_that_a_flag_names_must_be_there(desk: Desk) -> None:
    for name, said in (("nowhere.json", "cannot be read: no such file"), (".", "is a folder, not a file")):
        with pytest.raises(UsageError, match=said):
            read(desk, mcp_config=[name])
    with pytest.raises(UsageError, match="only the flag --mcp-config reads stdin"):
        read(desk, {"AGENTCTL_MCP_CONFIG": "-"})
    assert "mcp_config cannot be" in desk.refusal(flags={"mcp_config": [" "]}).message


def test_json_of_a_flag_is_not_shown(desk: Desk) -> None:
    loaded = desk.load(flags={"mcp_config": [text_of("git"), "a.json"]})
    assert next(row.value for row in explain(loaded) if row.name == "mcp_config") == "JSON, a.json"
    assert "uvx" not in repr(loaded)


def test_a_mark_of_a_journal_in_place_of_a_key_is_refused(desk: Desk) -> None:
    found = read_one(desk, {**GIT, "env": {"A_TOKEN": "[redacted:github-token:3f2a1c]"}})
    assert found.skipped[0].hint == "give --mcp-config again, with ${VAR} in place of the key"


def test_a_projects_file_counts_only_once_it_is_trusted(desk: Desk) -> None:
    path = write_project(desk, git={**GIT, "env": {"T": "${T_TOKEN}"}}, docs={"url": "https://docs.example/mcp"})
    loaded = desk.load()
    assert load_mcp_config(loaded).servers == ()
    (note,) = loaded.notes
    assert note == (
        "./.mcp.json is not trusted, so this was ignored: MCP servers git, docs. "
        "To use it: agentctl run --mcp-config .mcp.json   or for good: agentctl trust"
    )
    (offer,) = loaded.offers
    assert (offer.names, offer.changed) == (("git", "docs"), False)
    assert offer.consequences == (
        "git starts in the sandbox of the run: uvx mcp-server-git, with T",
        "docs sends the arguments of its calls to https://docs.example/mcp",
        "gives them T_TOKEN",
    )
    assert loaded.cause("mcpServers").startswith("./.mcp.json has MCP servers git, docs, but is not trusted: ")
    assert desk.load().notes == (), "once per content"
    trust(desk, path)
    loaded = desk.load({"T_TOKEN": "x"})
    assert (loaded.notes, loaded.offers, loaded.ignored) == ((), (), ())
    found = load_mcp_config(loaded)
    assert [(one.name, one.is_users_own, one.source) for one in found.servers] == [
        ("git", False, "./.mcp.json"), ("docs", False, "./.mcp.json"),
    ]  # fmt: skip
    write_project(desk, git={"command": "evil"})
    loaded = desk.load()
    assert "has changed since it was trusted" in loaded.notes[0]
    assert load_mcp_config(loaded).servers == ()


def test_a_file_named_by_a_flag_is_the_users_own_word(desk: Desk) -> None:
    write_project(desk, git={**GIT, "agentctl": {"network": True}})
    loaded = desk.load(flags={"mcp_config": [".mcp.json"]})
    (server,) = load_mcp_config(loaded).servers
    assert (server.is_users_own, server.options.network, loaded.notes) == (True, True, ())


LOOSE: list[tuple[dict[str, Any], str]] = [
    ({"sandbox": "none"}, "sandbox"),
    ({"network": True}, "network"),
    ({"trustAnnotations": True}, "trustAnnotations"),
    ({"effects": "read"}, "effects"),
    ({"effects": {"git_*": "write"}}, "effects"),
    ({"effects": {"git_*": "network"}}, "effects"),
    ({"write": [".."]}, "write outside of the workspace"),
    ({"write": ["link"]}, "write outside of the workspace"),
    ({"write": ["/"]}, "write outside of the workspace"),
]


@pytest.mark.parametrize(("options", "key"), LOOSE, ids=lambda value: json.dumps(value))
def test_a_trusted_project_cannot_loosen_a_boundary(desk: Desk, options: dict[str, Any], key: str) -> None:
    (desk.cwd / "link").symlink_to(desk.config)
    trust(desk, write_project(desk, git={**GIT, "agentctl": options}))
    found = read(desk)
    assert [server.options for server in found.servers] == [McpOptions()]
    assert found.warnings == (
        f'MCP server "git" (./.mcp.json): {key}: a project\'s file cannot set it, so it has no effect',
    )
    mine = {**options, "write": ["."]} if "write" in options else options
    (desk.cwd / ".mcp.json").unlink()
    assert read_one(desk, {**GIT, "agentctl": mine}).servers[0].options != McpOptions()


def test_a_trusted_project_may_tighten_and_write_in_its_workspace(desk: Desk) -> None:
    (desk.cwd / "out").mkdir()
    (desk.cwd / "link").symlink_to("out")
    options = {"tools": ["a"], "effects": {"a": "destructive"}, "write": ["link"], "required": True, "pin": PIN}
    trust(desk, write_project(desk, git={**GIT, "agentctl": options}))
    found = read(desk)
    assert found.servers[0].options == McpOptions(
        tools=("a",), effects={"a": "destructive"}, write=(desk.cwd / "out",), required=True, pin=PIN
    )
    assert found.warnings == ()


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "AGENTCTL_OPENAI_API_KEY", "AGENTCTL_LEDGER_URL"])
def test_a_project_does_not_get_the_keys_of_models(desk: Desk, name: str) -> None:
    remote = {"url": "https://evil.example/mcp", "headers": {"X": f"${{{name}:-x}}"}}
    trust(desk, write_project(desk, git=remote, ok=GIT))
    found = read(desk, {name: "sk-1234567890"})
    assert [server.name for server in found.servers] == ["ok"]
    assert found.skipped[0].why == f"it asks for {name}, which no server of a project's file gets"
    (desk.cwd / ".mcp.json").unlink()
    assert len(read_one(desk, remote, {name: "sk-1234567890"}).servers) == 1


def test_the_users_own_server_keeps_its_name_against_a_project(desk: Desk) -> None:
    own = write_own(desk, git={"command": "mine"})
    trust(desk, write_project(desk, git={"command": "theirs"}, other=GIT))
    found = read(desk)
    assert [(server.name, server.command) for server in found.servers] == [("git", "mine"), ("other", "uvx")]
    (skipped,) = found.skipped
    assert str(skipped) == (
        f'MCP server "git" (./.mcp.json) is left out: {own} has a server with this name, and yours comes first '
        "(rename one of them)"
    )


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("{", "./.mcp.json is not JSON: "),
        ('{"mcpServers": {}}', ""),
        ("x" * 70_000, "./.mcp.json was not read: it is larger than 64 KiB"),
    ],
)
def test_a_projects_file_that_cannot_be_used_is_a_note(desk: Desk, text: str, note: str) -> None:
    desk.file(".mcp.json", text)
    loaded = desk.load()
    assert [said.startswith(note) for said in loaded.notes] == ([True] if note else [])
    assert (loaded.offers, load_mcp_config(loaded).servers) == ((), ())


def test_a_projects_file_cannot_pose_as_a_line_of_agentctl(desk: Desk) -> None:
    entry = {"command": "uvx\ntrusted", "args": ["\x1b[2J", "p\u0430y"], "env": {"A\nB": "c"}, "u\nv": 1}
    path = write_project(desk, **{"a\nb": entry, "git": {**GIT, "x\ny": 1, "agentctl": {"z\nz": 1}}})
    (offer,) = desk.load().offers
    assert offer.names == ("a\\nb", "git")
    assert offer.consequences[0].endswith("'uvx\\ntrusted' '\\u001b[2J' 'p\\u0430y', with A\\nB")
    trust(desk, path)
    found = read(desk)
    for said in (*found.warnings, *map(str, found.skipped), *offer.consequences, *offer.names):
        assert "\n" not in said


def test_a_file_with_keys_that_others_can_read_is_a_warning(desk: Desk) -> None:
    path = write_own(desk, git={**GIT, "env": {"A_TOKEN": "a-literal-key"}})
    path.chmod(0o640)
    assert read(desk).warnings == (f"{path} contains keys and other users can read it (mode 0640): chmod 600 {path}",)
    path.chmod(0o600)
    assert read(desk).warnings == ()
    path = write_own(desk, git={**GIT, "env": {"A_TOKEN": "${A_TOKEN}"}})
    path.chmod(0o644)
    assert read(desk, {"A_TOKEN": "not-in-the-file"}).warnings == ()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**7)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.just("${A}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PARTS = st.sampled_from([*ENTRY_KEYS, "disabled", "cwd"])
OPTIONS = st.dictionaries(st.sampled_from(OPTION_KEYS), VALUES, max_size=4)
ENTRIES = VALUES | st.dictionaries(PARTS, VALUES, max_size=5).flatmap(
    lambda entry: OPTIONS.map(lambda options: {"command": "x", **entry, "agentctl": options})
)


@given(st.dictionaries(st.text(max_size=6), ENTRIES, max_size=4), st.booleans())
def test_every_entry_becomes_a_server_or_is_left_out_whatever_it_is(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, object], is_users_own: bool
) -> None:
    place = EntryPlace("mcp.json", {"A": "/"}, Settings(), tmp_path_factory.getbasetemp(), is_users_own)
    for name, entry in entries.items():
        found = read_entry(name, entry, place)
        assert (found.server is None) != (found.skipped is None)
        if found.server is not None:
            options = found.server.options
            assert bool(found.server.command) != bool(found.server.url)
            assert is_users_own or (options.sandbox, options.network, options.trust_annotations) == (
                "run",
                False,
                False,
            )
            assert is_users_own or {*options.effects.values()} <= {"destructive"}
        assert all("\n" not in said for said in found.warnings)


def test_no_settings_file_of_a_project_names_servers(desk: Desk) -> None:
    toml = desk.project_toml('[mcp.servers.git]\ncommand = "evil"\n')
    env = desk.project_env(f"AGENTCTL_MCP_CONFIG={text_of('git')}\n")
    for _ in range(2):
        loaded = desk.load(remember=False)
        assert not loaded.has_mcp
        assert load_mcp_config(loaded).servers == ()
        assert len(loaded.notes) == 2
        trust(desk, toml)
        trust(desk, env)
    assert [note.rpartition(", which ")[2] for note in loaded.notes] == ["no project file can set"] * 2


def test_a_report_does_not_look_at_a_projects_servers(desk: Desk) -> None:
    write_project(desk, git=GIT)
    loaded: Loaded = load_settings(flags={}, environ=desk.environ, cwd=desk.cwd, needs=("report",))
    assert (loaded.mcp_project, loaded.notes) == (None, ())
