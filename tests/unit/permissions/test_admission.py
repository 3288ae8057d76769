"""Admission: who is asked, what a reply means, and what is recorded."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest

from agentctl.core.errors import ActionDenied, InternalError, ToolError
from agentctl.core.events import ApprovalAsked, Event, ToolAllowed
from agentctl.core.messages import ToolCall
from agentctl.core.targets import Subject
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.admission import ActionDeferred, Admission, Approve, CallHooks
from agentctl.permissions.decision import Permissions
from agentctl.protocols import Approval, Question, Tool
from tests.support.loop import Deed, Diary, call

pytestmark = pytest.mark.anyio
NEEDS_A_NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Person:
    """Answers in order, and remembers the questions."""

    def __init__(self, *answers: Approval) -> None:
        self.answers = list(answers)
        self.asked: list[Question] = []

    async def approve(self, question: Question) -> Approval:
        self.asked.append(question)
        await anyio.lowlevel.checkpoint()
        return self.answers.pop(0)


class Resolving(Deed):
    """A tool that knows a container's true name."""

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        if arguments["name"] == "gone":
            raise ToolError("no such container: gone")
        return {**arguments, "name": "prod" if arguments["name"] == "4be1" else arguments["name"]}


RESTART = Resolving("restart", lambda _: "done", effect="write", parameters=NEEDS_A_NAME)


def door(
    diary: Diary, person: Person | None = None, approve: Approve = "ask", permissions: Permissions | None = None
) -> Admission:
    return Admission(permissions=permissions or Permissions(), emit=diary.emit, approve=approve, approver=person)


def rules(text: str) -> Permissions:
    kind, _, rule = text.partition(" ")
    return Permissions(**{kind: (parse_rule(rule),)})  # type: ignore[arg-type]


async def test_a_read_passes_in_silence() -> None:
    diary = Diary()
    looked = call("ps")
    assert await door(diary).admit(looked, Deed("ps", lambda _: "")) == looked
    assert diary.events == []


async def test_a_change_asks_and_the_answer_is_on_record_before_it_runs() -> None:
    diary, person = Diary(), Person(Approval(True))
    asked = call("restart", name="web")
    assert await door(diary, person).admit(asked, RESTART) == asked
    why, rule = "restart would change something outside the workspace", "restart(name=web)"
    assert person.asked == [Question(asked, "write", why, rule)]
    events: list[Event] = [ApprovalAsked(asked, "write", why, rule), ToolAllowed(asked, "write", "you")]
    assert diary.events == events


async def test_refusal_names_who_refused() -> None:
    diary, person = Diary(), Person(Approval(False))
    refused = await door(diary, person).admit(call("restart", name="web"), RESTART)
    assert isinstance(refused, ActionDenied)
    assert refused.message == "you said no to restart; do not try it again another way"
    assert diary.of(ToolAllowed) == []


async def test_always_holds_for_the_same_target_in_this_run_and_for_no_other() -> None:
    diary = Diary()
    person = Person(Approval(True, always=True), Approval(False))
    entrance = door(diary, person)
    web = call("restart", name="web")
    assert await entrance.admit(web, RESTART) == web
    assert await entrance.admit(call("restart", name="web", timeout=3), RESTART) == call(
        "restart", name="web", timeout=3
    )
    assert isinstance(await entrance.admit(call("restart", name="db"), RESTART), ActionDenied)
    assert [question.call.arguments["name"] for question in person.asked] == ["web", "db"]
    assert [event.by for event in diary.of(ToolAllowed)] == ["you, always in this run: restart(name=web)"] * 2


async def test_always_holds_against_a_rule_that_asks_and_not_against_one_that_denies() -> None:
    person = Person(Approval(True, always=True))
    permissions = Permissions(ask=(parse_rule("restart"),), deny=(parse_rule("restart(force=true)"),))
    entrance = door(Diary(), person, permissions=permissions)
    for _ in range(2):
        assert isinstance(await entrance.admit(call("restart", name="web"), RESTART), ToolCall)
    assert isinstance(await entrance.admit(call("restart", name="web", force=True), RESTART), ActionDenied)


@pytest.mark.parametrize(
    ("approve", "why"),
    [
        ("ask", "there is no terminal to ask on"),
        ("deny", "--approve deny refuses it"),
    ],
)
async def test_change_without_a_terminal_is_denied_with_the_rule_to_paste(approve: Approve, why: str) -> None:
    diary = Diary()
    refused = await door(diary, None, approve).admit(call("restart", name="my web"), RESTART)
    assert isinstance(refused, ActionDenied)
    assert refused.message == f"restart needs approval, and {why}"
    assert refused.hint == "to allow it: --allow 'restart(name=my web)'"
    assert diary.events == []


async def test_deny_rule_asks_no_question_at_a_terminal() -> None:
    person = Person()
    assert isinstance(await door(Diary(), person, "deny").admit(call("restart", name="web"), RESTART), ActionDenied)
    assert person.asked == []


async def test_yes_answers_what_would_be_asked_and_nothing_else() -> None:
    diary = Diary()
    assert isinstance(await door(diary, None, "all").admit(call("restart", name="web"), RESTART), ToolCall)
    assert [event.by for event in diary.of(ToolAllowed)] == ["--yes"]
    for permissions in (rules("deny restart"), Permissions(read_only=True), Permissions(only=())):
        refused = await door(diary, None, "all", permissions).admit(call("restart", name="web"), RESTART)
        assert isinstance(refused, ActionDenied)


async def test_allow_rule_runs_a_call_without_a_question_and_is_named() -> None:
    diary = Diary()
    entrance = door(diary, None, permissions=rules("allow restart(name=web)"))
    assert isinstance(await entrance.admit(call("restart", name="web"), RESTART), ToolCall)
    assert [event.by for event in diary.of(ToolAllowed)] == ["the rule allow restart(name=web)"]
    assert isinstance(await entrance.admit(call("restart", name="db"), RESTART), ActionDenied)


async def test_a_denied_name_cannot_be_reached_by_another_one() -> None:
    entrance = door(Diary(), None, "all", rules("deny restart(name=prod)"))
    assert isinstance(await entrance.admit(call("restart", name="4be1"), RESTART), ActionDenied)


async def test_the_call_that_runs_is_the_one_that_was_shown() -> None:
    person = Person(Approval(True))
    admitted = await door(Diary(), person).admit(call("restart", name="4be1"), RESTART)
    assert admitted == person.asked[0].call == call("restart", name="prod")


async def test_call_that_cannot_work_is_refused_without_a_question() -> None:
    person = Person()
    refused = await door(Diary(), person).admit(call("restart", name="gone"), RESTART)
    assert isinstance(refused, ToolError)
    assert person.asked == []


async def test_a_withheld_tool_does_not_even_look() -> None:
    refused = await door(Diary(), None, permissions=rules("deny restart")).admit(call("restart", name="gone"), RESTART)
    assert isinstance(refused, ActionDenied), "what there is is not told by a tool that is forbidden"


async def test_two_questions_at_once_are_asked_one_after_the_other() -> None:
    diary = Diary()
    person = Person(Approval(True), Approval(True))
    entrance = door(diary, person, permissions=rules("ask ps"))
    async with anyio.create_task_group() as group:
        for number in range(2):
            group.start_soon(entrance.admit, call("ps", str(number)), Deed("ps", lambda _: ""))
    assert [type(event) for event in diary.events] == [ApprovalAsked, ToolAllowed, ApprovalAsked, ToolAllowed]


async def test_a_no_is_not_asked_for_again() -> None:
    diary = Diary()
    person = Person(Approval(False), Approval(True))
    entrance = door(diary, person)
    for _ in range(3):
        refused = await entrance.admit(call("restart", name="web"), RESTART)
        assert isinstance(refused, ActionDenied)
        assert refused.message == "you said no to restart; do not try it again another way"
    assert len(person.asked) == len(diary.of(ApprovalAsked)) == 1
    assert isinstance(await entrance.admit(call("restart", name="db"), RESTART), ToolCall), (
        "another call is asked about"
    )


class Broken(Deed):
    """A tool with a bug in the checking of its arguments."""

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise KeyError("name")


async def test_bug_in_a_tool_is_reported_and_does_not_end_the_run() -> None:
    refused = await door(Diary()).admit(call("broken"), Broken("broken", lambda _: ""))
    assert isinstance(refused, InternalError)
    assert refused.message == "broken failed with an internal error: KeyError: 'name'"


class Hooked:
    """Hooks that deny what they are told to, and remember what they saw."""

    def __init__(self, *denied: str) -> None:
        self.denied, self.seen, self.ran = denied, list[ToolCall](), list[ToolCall]()
        self.waiting = 0

    def needs_names(self, name: str) -> bool:
        return False

    async def check(self, asked: ToolCall, resolved: ToolCall, tool: Tool, subject: Subject) -> ActionDenied | None:
        self.seen.append(resolved)
        return ActionDenied(f"no {asked.name}") if asked.name in self.denied else None

    def record(self, asked: ToolCall, resolved: ToolCall, subject: Subject) -> None:
        self.ran.append(resolved)


def hooked(
    hooks: CallHooks, diary: Diary, person: Person | None = None, approve: Approve = "ask", rule: str = ""
) -> Admission:
    permissions = rules(rule) if rule else Permissions()
    return Admission(permissions=permissions, emit=diary.emit, approve=approve, approver=person, hooks=hooks)


async def test_nobody_is_asked_about_a_call_that_a_hook_denies() -> None:
    diary, person, hooks = Diary(), Person(Approval(True)), Hooked("restart")
    refused = await hooked(hooks, diary, person).admit(call("restart", name="web"), RESTART)
    assert isinstance(refused, ActionDenied)
    assert (refused.message, person.asked, diary.events, hooks.ran) == ("no restart", [], [], [])


async def test_a_hook_sees_the_resolved_call_once_and_before_the_person() -> None:
    diary, person, hooks = Diary(), Person(Approval(True)), Hooked()
    resolved = call("restart", name="prod")
    assert await hooked(hooks, diary, person).admit(call("restart", name="4be1"), RESTART) == resolved
    assert (hooks.seen, hooks.ran, [one.call for one in person.asked]) == ([resolved], [resolved], [resolved])


async def test_a_call_that_a_person_refuses_is_not_noted_as_run() -> None:
    hooks = Hooked()
    refused = await hooked(hooks, Diary(), Person(Approval(False))).admit(call("restart", name="web"), RESTART)
    assert isinstance(refused, ActionDenied)
    assert (len(hooks.seen), hooks.ran) == (1, [])


@pytest.mark.parametrize(("approve", "rule"), [("all", ""), ("ask", "allow restart"), ("deny", "allow restart")])
async def test_a_hook_denies_what_rules_and_yes_allow(approve: Approve, rule: str) -> None:
    diary = Diary()
    refused = await hooked(Hooked("restart"), diary, None, approve, rule).admit(call("restart", name="web"), RESTART)
    assert isinstance(refused, ActionDenied)
    assert diary.events == [], "no ToolAllowed for a call that does not run"


@pytest.mark.parametrize(("approve", "rule"), [("all", "deny restart"), ("deny", ""), ("ask", "")])
async def test_a_hook_allows_nothing_and_does_not_run_for_a_denied_call(approve: Approve, rule: str) -> None:
    hooks = Hooked()
    refused = await hooked(hooks, Diary(), None, approve, rule).admit(call("restart", name="web"), RESTART)
    assert isinstance(refused, ActionDenied)
    assert hooks.seen == []


async def test_a_call_that_a_hook_denies_is_denied_and_not_deferred() -> None:
    hooks = Hooked("restart")
    for trial in (False, True):
        refused = await hooked(hooks, Diary(), None, "defer").admit(call("restart", name="web"), RESTART, trial=trial)
        assert isinstance(refused, ActionDenied)
        assert not isinstance(refused, ActionDeferred)
    passed = Hooked()
    pending = await hooked(passed, Diary(), None, "defer").admit(call("restart", name="web"), RESTART)
    assert isinstance(pending, ActionDeferred)
    assert (len(passed.seen), passed.ran) == (1, []), "it has not run yet"


async def test_a_trial_of_a_call_that_needs_nobody_runs_no_hook() -> None:
    hooks = Hooked()
    await hooked(hooks, Diary()).admit(call("ps"), Deed("ps", lambda _: ""), trial=True)
    assert (hooks.seen, hooks.ran) == ([], [])


async def test_the_hooks_of_reads_run_side_by_side() -> None:
    class Meeting(Hooked):
        """Each call waits for the other."""

        async def check(self, *seen: object) -> ActionDenied | None:
            self.waiting += 1
            while self.waiting < 2:
                await anyio.lowlevel.checkpoint()
            return None

    door = hooked(Meeting(), Diary())
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(door.admit, call("ps"), Deed("ps", lambda _: ""))
            group.start_soon(door.admit, call("df"), Deed("df", lambda _: ""))
