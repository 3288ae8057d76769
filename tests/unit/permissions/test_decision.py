"""Decision on a call: restrictions first, then ask rules, then allow rules, then the kind of the tool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.tool_rules import Rule, parse_rule
from agentctl.permissions.decision import Permissions


def rules(*texts: str) -> tuple[Rule, ...]:
    return tuple(map(parse_rule, texts))


WEB = {"name": "web"}


@pytest.mark.parametrize(
    ("permissions", "name", "effect", "contained", "kind", "why"),
    [
        (Permissions(), "ps", "read", False, "allow", "it only reads"),
        (Permissions(), "rm", "destructive", False, "ask", "rm would change something outside the workspace"),
        (Permissions(), "a__b", "destructive", False, "ask", "a__b may change whatever its MCP server can reach"),
        (Permissions(), "write_file", "write", True, "allow", "it stays inside the workspace"),
        (Permissions(read_only=True), "ps", "read", False, "allow", "it only reads"),
        (
            Permissions(read_only=True, allow=rules("rm")), "rm", "destructive", False,
            "deny", "rm would change something, and this run is read-only",
        ),
        (
            Permissions(read_only=True), "write_file", "write", True,
            "deny", "write_file would change something, and this run is read-only",
        ),
        (
            Permissions(only=("rm",)), "ps", "read", False,
            "deny", "ps is not among the tools that the user allows: rm",
        ),
        (
            Permissions(only=(), allow=rules("ps")), "ps", "read", False,
            "deny", "ps is not among the tools that the user allows: none",
        ),
        (
            Permissions(deny=rules("ps"), allow=rules("ps")), "ps", "read", False,
            "deny", "ps is denied by a user rule (ps); continue without it",
        ),
        (
            Permissions(deny=rules("*"), allow=rules("rm(name=web)")), "rm", "destructive", False,
            "deny", "rm is denied by a user rule (*); continue without it",
        ),
        (Permissions(allow=rules("rm(name=web)")), "rm", "destructive", False, "allow", "the rule allow rm(name=web)"),
        (
            Permissions(allow=rules("rm(name=db)")), "rm", "destructive", False,
            "ask", "rm would change something outside the workspace",
        ),
        (Permissions(ask=rules("rm"), allow=rules("rm(name=web)")), "rm", "write", False, "ask", "the rule ask rm"),
        (Permissions(ask=rules("ps")), "ps", "read", False, "ask", "the rule ask ps"),
        (Permissions(ask=rules("write_file")), "write_file", "write", True, "ask", "the rule ask write_file"),
        (
            Permissions(ask=rules("rm"), granted=rules("rm")), "rm", "write", False,
            "allow", "you, always in this run: rm",
        ),
        (
            Permissions(deny=rules("rm"), granted=rules("rm")), "rm", "write", False,
            "deny", "rm is denied by a user rule (rm); continue without it",
        ),
    ],
)  # fmt: skip
def test_each_call_gets_its_decision(
    permissions: Permissions, name: str, effect: str, contained: bool, kind: str, why: str
) -> None:
    assert permissions.decide(name, effect, WEB, contained=contained) == (kind, why)


def test_deny_rule_matches_the_given_and_the_resolved_arguments() -> None:
    permissions = Permissions(deny=rules("rm(name=prod)"), allow=rules("rm"))
    assert permissions.decide("rm", "write", {"name": "4be1"}, resolved={"name": "prod"}).kind == "deny"
    assert permissions.decide("rm", "write", {"name": "prod"}, resolved={"name": "other"}).kind == "deny"
    assert permissions.decide("rm", "write", {"name": "4be1"}, resolved={"name": "old"}).kind == "allow"


def test_allow_rule_matches_only_the_resolved_arguments() -> None:
    permissions = Permissions(allow=rules("rm(name=web)"))
    assert permissions.decide("rm", "write", {"name": "web"}, resolved={"name": "prod"}).kind == "ask"
    assert permissions.decide("rm", "write", {"name": "4be1"}, resolved={"name": "web"}).kind == "allow"


def test_only_what_may_never_run_is_withheld() -> None:
    permissions = Permissions(deny=rules("rm(name=web)", "rmi"), read_only=False)
    assert permissions.why_withheld("rm", "destructive") is None
    assert permissions.why_withheld("rmi", "destructive") is not None
    assert Permissions(read_only=True).why_withheld("rm", "destructive") is not None


TOOLS = st.sampled_from(["ps", "rm", "run"])
RULES = st.lists(st.sampled_from(["ps", "rm", "run", "*", "rm(name=web)", "r*(name=we?)"]), max_size=3)


@given(deny=RULES, ask=RULES, allow=RULES, name=TOOLS, read_only=st.booleans(), contained=st.booleans())
def test_an_allow_rule_never_outweighs_a_restriction(
    deny: list[str], ask: list[str], allow: list[str], name: str, read_only: bool, contained: bool
) -> None:
    effect = "read" if name == "ps" else "write"
    strict = Permissions(read_only=read_only, deny=rules(*deny), ask=rules(*ask), allow=rules(*allow))
    without = Permissions(read_only=read_only, deny=rules(*deny), ask=rules(*ask))
    before, after = (each.decide(name, effect, WEB, contained=contained).kind for each in (without, strict))
    if before == "deny" or any(rule.forbids(name, WEB) for rule in rules(*ask)):
        assert after == before
    else:
        assert (before, after) in {("allow", "allow"), ("ask", "ask"), ("ask", "allow")}
