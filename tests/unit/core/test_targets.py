"""Other names of one target: a restricting rule matches it under any name that the rule or the model uses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.targets import Subject, Target, canonical_path, fits, frozen_pattern, hidden_pattern
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.decision import Permissions

ROOTS = ("/srv/project", "/data/real-project")
ID = "4be1c0ffee12" + "ab" * 26


def path(*names: str) -> Target:
    return Target("path", names, roots=ROOTS)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("secrets/key", "secrets/key"),
        ("secrets/key", "./secrets/key"),
        ("secrets/key", "secrets//key"),
        ("secrets/key", "secrets/./key"),
        ("secrets/key", "secrets/../secrets/key"),
        ("secrets/key", "a/../secrets/key"),
        ("secrets/key", "secrets/key/"),
        ("secrets/key", "/srv/project/secrets/key"),
        ("secrets/key", "Secrets/KEY"),
        ("./secrets/key", "secrets/key"),
        ("secrets//key", "secrets/key"),
        ("secrets/./key", "secrets/key"),
        ("a/../secrets/key", "secrets/key"),
        ("SECRETS/key", "secrets/key"),
        ("secrets", "secrets/key"),
        ("secrets/", "secrets/key"),
        ("secrets/", "secrets"),
        ("secrets/*", "secrets/deep/er/key"),
        ("secrets/**", "secrets/key"),
        ("**/key", "key"),
        ("**/key", "a/b/key"),
        ("a/**/key", "a/key"),
        ("*.pem", "tls/server.pem"),
        ("*.pem", "tls/server.PEM"),
        ("*.pem", "old.pem/notes.txt"),
        ("/srv/project/secrets/*", "secrets/key"),
        ("/data/real-project/secrets/*", "secrets/key"),
        ("/srv/project/secrets", "secrets/key"),
        ("/srv/*/key", "secrets/key"),
        ("/srv/project", "."),
        ("/srv", "secrets/key"),
        (".", "."),
        ("./", "."),
        ("/srv/project/", "."),
        ("*", "."),
        ("r\u00e9sum\u00e9", "re\u0301sume\u0301"),
        ("re\u0301sume\u0301", "r\u00e9sum\u00e9"),
        ("R\u00c9SUM\u00c9.txt", "re\u0301sume\u0301.txt"),
        ("stra\u00dfe", "STRASSE"),
        ("?.key", "\u00e9.key"),
        ("?.key", "e\u0301.key"),
    ],
)
def test_a_path_is_the_same_in_every_spelling(pattern: str, name: str) -> None:
    given_name = name.removeprefix("/srv/project/") if name.startswith("/srv/project/") else name
    assert path(given_name).fits(pattern)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("secrets/key", "secrets/key2"),
        ("secrets", "secrets2/key"),
        ("secrets", "src/secrets/key"),
        (".", "secrets"),
        ("./", "secrets/key"),
        ("/srv/project", "secrets"),
        ("/srv/other/*", "secrets/key"),
        (r"a\*b", "aXb"),
        ("*.pem", "pem"),
        ("resume", "r\u00e9sum\u00e9"),
    ],
)
def test_rule_does_not_match_another_path(pattern: str, name: str) -> None:
    assert not path(name).fits(pattern)


@pytest.mark.parametrize("pattern", ["web", "/web", "we?", "*", ID, ID[:12], ID[:7], ID[:4], f"sha256:{ID}"])
def test_a_container_is_the_same_by_name_and_by_id(pattern: str) -> None:
    assert Target("container", ("web",), ID[:12]).fits(pattern)
    assert Target("container", ("web",), ID).fits(pattern)


@pytest.mark.parametrize("pattern", ["WEB", "web2", "4be2", "4b", "4*c", "ff" * 32, "", "/", "//web"])
def test_rule_does_not_match_another_container(pattern: str) -> None:
    assert not Target("container", ("web",), ID[:12]).fits(pattern), "a wildcard is about names, never about ids"


@pytest.mark.parametrize(
    ("rule", "arguments", "defaults"),
    [
        ("list_files(path=.)", {}, {"path": "."}),
        ("list_files(path=./)", {"path": "."}, {"path": "."}),
        ("list_files(recursive=true)", {}, {"path": ".", "recursive": True}),
        ("list_files(recursive=True)", {"path": "."}, {"path": ".", "recursive": True}),
        ("docker_rm(force=true)", {"force": "true"}, {"force": True}),
        ("docker_rm(force=yes)", {"force": 1}, {"force": True}),
        ("docker_rm(force=1)", {"force": True}, {"force": True}),
        ("docker_rm(force=no)", {"force": None}, {"force": False}),
        ("docker_rm(force=false)", {}, {"force": False}),
        ("docker_stop(timeout=10)", {"timeout": "10"}, {"timeout": 10}),
        ("docker_stop(timeout=10)", {}, {"timeout": 10}),
        ("docker_stop(timeout=1?)", {"timeout": 10.0}, {"timeout": 10}),
    ],
)
def test_a_value_is_the_same_in_every_spelling_and_when_it_is_left_out(
    rule: str, arguments: dict[str, object], defaults: dict[str, object]
) -> None:
    subject = Subject(defaults, {"path": path(str(defaults["path"]))} if "path" in defaults else {})
    name = rule.partition("(")[0]
    assert fits(parse_rule(rule), name, arguments, subject)
    assert Permissions(deny=(parse_rule(rule),)).decide(name, "read", arguments, subject=subject).kind == "deny"


@pytest.mark.parametrize("tool", ["read_file", "list_files", "search_files", "git_status", "write_file"])
@pytest.mark.parametrize(
    "rule",
    [
        "read_file(path=secrets)",
        "list_files(path=secrets/*)",
        "search_files(path=*key)",
        "*(path=secrets)",
        "*_file(path=*key)",
    ],
)
def test_a_path_that_one_tool_may_not_read_is_denied_to_all_of_them(tool: str, rule: str) -> None:
    permissions = Permissions(deny=(parse_rule(rule),))
    subject = Subject({"path": "secrets/key"}, {"path": path("secrets/key")})
    assert permissions.decide(tool, "read", {"path": "secrets/key"}, subject=subject).kind == "deny"
    other = Subject({"path": "src/app.py"}, {"path": path("src/app.py")})
    assert permissions.decide(tool, "read", {"path": "src/app.py"}, subject=other).kind == "allow"


def test_a_path_that_may_not_be_written_may_be_read() -> None:
    permissions = Permissions(deny=(parse_rule("write_file(path=src/*)"),))
    subject = Subject({"path": "src/app.py"}, {"path": path("src/app.py")})
    assert permissions.decide("read_file", "read", {"path": "src/app.py"}, subject=subject).kind == "allow"
    assert permissions.decide("write_file", "write", {"path": "src/app.py"}, subject=subject).kind == "deny"


def test_rules_hide_a_path_or_only_deny_a_call() -> None:
    assert hidden_pattern(parse_rule("read_file(path=a)")) == "a"
    assert hidden_pattern(parse_rule("*(path=a)")) == frozen_pattern(parse_rule("*(path=a)")) == "a"
    assert hidden_pattern(parse_rule("read_file(path=a,last=5)")) is None, "a rule about one kind of call"
    assert hidden_pattern(parse_rule("read_file")) is None
    assert hidden_pattern(parse_rule("read_file(path=run:*)")) is None, "a file of the run lies in no workspace"
    assert hidden_pattern(parse_rule("write_file(path=a)")) is None
    assert frozen_pattern(parse_rule("read_file(path=a)")) is None


def test_an_allow_rule_looks_at_the_true_name_alone() -> None:
    permissions = Permissions(allow=(parse_rule("docker_rm(name=decoy)"),))
    subject = Subject({"name": "web"}, {"name": Target("container", ("web", "decoy"), ID)})
    assert (
        permissions.decide("docker_rm", "destructive", {"name": "decoy"}, resolved={"name": "web"}, subject=subject)[0]
        == "ask"
    )


@given(st.text("aB\u00e9\u0301/.", min_size=1, max_size=30))
def test_normal_form_of_a_path_is_idempotent(text: str) -> None:
    assert canonical_path(canonical_path(text)) == canonical_path(text)
