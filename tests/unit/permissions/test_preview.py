"""Preview of a call: pure decisions, and the parsing of written calls."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from agentctl.core.errors import SandboxUnavailable, UsageError
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.decision import Permissions
from agentctl.permissions.preview import (
    CallPreview,
    WrittenCall,
    allowing_rule,
    example_rule,
    parse_call,
    preview_call,
    rules_about,
    typed_arguments,
)
from agentctl.protocols import Tool
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.tool import Arguments, define_tool
from agentctl.tools.toolbox import ToolContext

BENCH = ToolContext(Path("/"), DockerEngine(None), lambda: datetime.now(UTC))


class Fell(Arguments):
    """Which tree, how often."""

    tree: str = Field(description="which one")
    times: int = 1
    gently: bool = False
    tools: tuple[str, ...] = ()


@define_tool(Fell, effect="destructive")
async def tree_fell(context: ToolContext, arguments: Fell) -> str:
    """Fell a tree."""
    raise AssertionError("nothing is done")


@define_tool(Fell, effect="write", contained=True)
async def tree_draw(context: ToolContext, arguments: Fell) -> str:
    """Draw a tree."""
    raise AssertionError("nothing is done")


@define_tool(Fell)
async def tree_count(context: ToolContext, arguments: Fell) -> str:
    """Count trees."""
    raise AssertionError("nothing is done")


FELL, DRAW, COUNT = tree_fell.at(BENCH), tree_draw.at(BENCH), tree_count.at(BENCH)
KNOWN = ("tree_fell", "tree_draw", "tree_count")
OAK = {"tree": "oak"}


def rules(*texts: str) -> Permissions:
    return Permissions(allow=tuple(map(parse_rule, texts)))


@pytest.mark.parametrize(
    ("tool", "outcome", "why"),
    [
        (COUNT, "runs", "it only reads"),
        (DRAW, "runs", "it stays inside the workspace"),
        (FELL, "asks", "tree_fell would change something outside the workspace"),
    ],
)
def test_the_kind_of_a_tool_says_what_happens_where_no_rule_does(tool: Tool, outcome: str, why: str) -> None:
    found = preview_call(Permissions(), "ask", tool, OAK)
    assert (found.outcome, found.why) == (outcome, why)
    assert bool(found.hint) == (outcome == "asks")


def test_a_question_is_answered_as_approve_says() -> None:
    assert preview_call(Permissions(), "all", FELL, OAK).outcome == "runs"
    denied = preview_call(Permissions(), "deny", FELL, OAK)
    assert (denied.outcome, denied.hint) == ("denied", "to allow it: --allow 'tree_fell(tree=oak)'")
    assert preview_call(Permissions(), "deny", COUNT, OAK).outcome == "runs"


def test_approve_all_never_touches_what_is_denied() -> None:
    deny = Permissions(deny=(parse_rule("tree_fell(tree=oak)"),))
    assert preview_call(deny, "all", FELL, OAK).outcome == "denied"
    assert preview_call(deny, "all", FELL, {"tree": "elm"}).outcome == "runs"
    assert preview_call(Permissions(read_only=True), "all", DRAW, OAK).outcome == "denied"
    assert preview_call(Permissions(only=("tree_count",)), "all", FELL, OAK).outcome == "denied"


def test_the_rule_that_is_hinted_at_lets_the_call_run() -> None:
    hint = preview_call(Permissions(), "ask", FELL, OAK).hint
    assert hint == "to allow it: --allow 'tree_fell(tree=oak)'"
    assert preview_call(rules(allowing_rule(FELL.spec, OAK)), "ask", FELL, OAK).outcome == "runs"
    assert preview_call(rules(allowing_rule(FELL.spec, OAK)), "ask", FELL, {"tree": "elm"}).outcome == "asks"


def test_tool_without_its_sandbox_is_left_out_unless_it_is_denied_anyway() -> None:
    missing = SandboxUnavailable("no boundary here", hint="install one")
    assert preview_call(Permissions(), "all", FELL, OAK, missing=missing) == CallPreview(
        "left_out", "no boundary here", "install one"
    )
    assert preview_call(Permissions(read_only=True), "all", FELL, OAK, missing=missing).outcome == "denied"


def test_rules_about_arguments_are_named_but_do_not_count_without_arguments() -> None:
    permissions = rules("tree_fell(tree=oak)", "other_*")
    assert preview_call(permissions, "ask", FELL).outcome == "asks"
    assert [(setting, str(rule)) for setting, rule in rules_about(permissions, "tree_fell")] == [
        ("allow", "tree_fell(tree=oak)")
    ]
    assert (FELL.spec.target, example_rule(FELL.spec)) == ("tree", "tree_fell(tree=TREE)")


@pytest.mark.parametrize(
    "text", ["ls", "ls -la", "echo $(date)", "tree_fell oak", "(cd /; ls)", 'grep "a(b)" x', "a|b"]
)
def test_text_that_is_not_a_tool_call_is_a_command(text: str) -> None:
    assert parse_call(text, KNOWN) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tree_fel(tree=oak)", 'there is no tool "tree_fel"'),
        ("tree_fel", 'there is no tool "tree_fel"'),
        ("nothing(like=it)", 'there is no tool "nothing"'),
        ("tree_fell(oak)", "is not a valid call"),
        ("tree_fell(tree=oak", "is not a valid call"),
        ("tree_fell(tree=)", "is not a valid call"),
        ("  ", "nothing to check"),
    ],
)
def test_text_that_is_nearly_a_call_is_refused_with_a_hint(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_call(text, KNOWN)
    assert said in caught.value.message
    assert caught.value.hint


def test_misspelt_tool_is_not_a_command_and_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError) as caught:
        parse_call("tree_fel", KNOWN)
    assert caught.value.hint == 'did you mean "tree_fell"?'


def test_values_get_the_types_of_the_schema_and_a_star_is_literal() -> None:
    found = parse_call(r'tree_fell(tree="o\*k, (old)", times=3, gently=true, tools=[])', KNOWN)
    assert found is not None
    assert typed_arguments(FELL.spec, found.arguments) == {
        "tree": "o*k, (old)",
        "times": 3,
        "gently": True,
        "tools": [],
    }
    assert parse_call("tree_count", KNOWN) == WrittenCall("tree_count")
    assert typed_arguments(FELL.spec, (("times", "many"), ("unknown", "1"))) == {"times": "many", "unknown": "1"}


@given(tree=st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40))
def test_the_rule_for_a_call_reads_back_as_that_call(tree: str) -> None:
    written = parse_call(allowing_rule(FELL.spec, {"tree": tree}), KNOWN)
    assert written == WrittenCall("tree_fell", (("tree", tree),))
    assert preview_call(rules(allowing_rule(FELL.spec, {"tree": tree})), "ask", FELL, {"tree": tree}).outcome == "runs"


@given(text=st.text(max_size=60))
def test_every_text_is_a_call_a_command_or_a_refusal_with_a_hint(text: str) -> None:
    assert outcome_of(text)


def outcome_of(text: str) -> str:
    try:
        found = parse_call(text, KNOWN)
    except UsageError as error:
        return error.hint
    return "command" if found is None else found.name
