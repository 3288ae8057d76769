"""Admit or refuse the tool calls of a run: by their kind, by a rule, or by asking a person."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import anyio
import anyio.to_thread

from agentctl.core.errors import ActionDenied, AgentctlError, InternalError
from agentctl.core.events import ApprovalAsked, Emit, ToolAllowed
from agentctl.core.impact import Impact, ImpactAware, describe_impact
from agentctl.core.messages import ToolCall
from agentctl.core.results import PendingCall
from agentctl.core.targets import Subject
from agentctl.core.tool_rules import SHELL_ARGUMENTS, Rule, rule_for
from agentctl.permissions.decision import Permissions
from agentctl.permissions.guards import arguments_text, only_reads
from agentctl.protocols import Approver, AutorunAware, Question, TargetAware, Tool

if TYPE_CHECKING:
    from agentctl.core.autorun_files import AutorunFile

Approve = Literal["ask", "deny", "all", "defer"]


class ActionDeferred(ActionDenied):
    """Calls need a person, none is there, and the user wants them kept (``--approve defer``): the run stops here."""

    kind = "deferred"

    def __init__(self, pending: tuple[PendingCall, ...]) -> None:
        names = ", ".join(dict.fromkeys(call.tool for call in pending))
        super().__init__(f"{names} needs approval, and the run stopped before it (--approve defer)")
        self.pending = pending


class _Admitted(NamedTuple):
    """A call that may run as far as rules and a person go, and who decided. ``was_checked``: hooks have seen it."""

    call: ToolCall
    by: str
    was_in_question: bool
    was_checked: bool


class CallHooks(Protocol):
    """The user's hooks before tool calls. They can only deny."""

    def needs_names(self, name: str) -> bool:
        """Return whether all names of the target of a call of ``name`` are needed."""
        ...

    async def check(self, asked: ToolCall, resolved: ToolCall, tool: Tool, subject: Subject) -> ActionDenied | None:
        """Return the denial of a call that may run otherwise, or None."""
        ...

    def record(self, asked: ToolCall, resolved: ToolCall, subject: Subject) -> None:
        """Note that a call runs."""
        ...


class Admission:
    """Admits or denies the calls of one run. ``approver`` None: there is no user to ask, for ``no_user_reason``.

    A refused call is not asked about again: the refusal applies for the rest of the run. ``hooks`` see a call that may
    run, with the arguments that it will have, and before a person is asked about it: nobody is asked about a call that
    a hook denies.
    """

    def __init__(
        self,
        *,
        permissions: Permissions,
        emit: Emit,
        approve: Approve = "ask",
        approver: Approver | None = None,
        no_user_reason: str = "there is no terminal to ask on",
        hooks: CallHooks | None = None,
    ) -> None:
        self._hooks = hooks
        self._permissions, self._emit, self._approve, self._approver = permissions, emit, approve, approver
        self._no_user_reason = no_user_reason
        self._one_at_a_time = anyio.Lock()
        self._refused: dict[str, str] = {}  # what was refused, and by whom

    def offers(self, tool: Tool) -> bool:
        """Return whether the tool is offered to the model; one that may never run is not."""
        return self._permissions.why_withheld(tool.spec.name, tool.effect) is None

    async def admit(self, call: ToolCall, tool: Tool, *, trial: bool = False) -> ToolCall | AgentctlError:
        """Return the call with its arguments resolved, or the error that says why it may not run.

        With ``trial`` the call does not run now: no event is emitted and nobody is asked.

        Restrictions are checked before the arguments are, so that a forbidden tool reveals nothing.
        """
        if (why := self._permissions.why_withheld(call.name, tool.effect)) is not None:
            return ActionDenied(why)
        subject = None
        try:
            resolved = replace(call, arguments=await tool.prepare(call.arguments))
            autorun = await tool.find_autorun(resolved.arguments) if isinstance(tool, AutorunAware) else None
            if isinstance(tool, TargetAware):
                subject = tool.subject(resolved.arguments)
                if self._needs_names(call.name):  # not otherwise: it asks the engine
                    subject = (await tool.look_up(subject)).with_names(tool.subject(call.arguments))
        except AgentctlError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a tool's own bug is reported to the model, as in a call
            what = f"{type(error).__name__}: {error}"
            return InternalError(f"{call.name} failed with an internal error: {what}", hint="continue without it")
        async with self._one_at_a_time:
            decided = await self._decide(call, resolved, tool, subject, autorun, trial=trial)
        if not isinstance(decided, _Admitted):
            return decided
        if not trial and not decided.was_checked:  # outside of the lock: the hooks of several reads run side by side
            denied = await self._check(call, decided.call, tool, subject)
            if denied is not None:
                return denied
        return await self._admitted(call, decided, tool, subject, trial=trial)

    def _needs_names(self, name: str) -> bool:
        return self._permissions.needs_names(name) or (self._hooks is not None and self._hooks.needs_names(name))

    async def _check(
        self, call: ToolCall, resolved: ToolCall, tool: Tool, subject: Subject | None
    ) -> ActionDenied | None:
        if self._hooks is None:
            return None
        return await self._hooks.check(call, resolved, tool, subject or Subject(resolved.arguments))

    async def _admitted(
        self, call: ToolCall, decided: _Admitted, tool: Tool, subject: Subject | None, *, trial: bool
    ) -> ToolCall:
        """Record that the call runs, and return it."""
        resolved = decided.call
        if trial:
            return resolved
        if self._hooks is not None:
            self._hooks.record(call, resolved, subject or Subject(resolved.arguments))
        if not only_reads(tool) or decided.was_in_question:
            await self._emit(ToolAllowed(resolved, tool.effect, decided.by))
        return resolved

    async def _decide(
        self,
        call: ToolCall,
        resolved: ToolCall,
        tool: Tool,
        subject: Subject | None,
        autorun: AutorunFile | None,
        *,
        trial: bool,
    ) -> _Admitted | ToolCall | AgentctlError:
        """Decide by the rules, and ask a person; a call itself is the answer of a trial that would ask one."""
        decision = self._permissions.decide(
            call.name,
            tool.effect,
            call.arguments,
            resolved=resolved.arguments,
            subject=subject,
            contained=tool.contained,
            autorun=autorun,
        )
        if decision.kind == "deny":
            return ActionDenied(decision.why)
        by, was_checked = decision.why, False
        if decision.kind == "ask":
            rule = rule_for(call.name, resolved.arguments, tool.spec.target)
            if self._approve == "all":
                by = "--yes"
            elif self._approve == "defer" and self._approver is None:
                denied = await self._check(call, resolved, tool, subject)
                return denied or ActionDeferred((PendingCall(call.name, resolved.arguments, str(rule)),))
            elif trial:
                return resolved
            elif self._approve == "deny" or self._approver is None:
                why = "--approve deny refuses it" if self._approve == "deny" else self._no_user_reason
                impact = await _look_up_impact(tool, resolved)
                return impact if isinstance(impact, AgentctlError) else _unasked_error(call.name, rule, why, impact)
            elif (asked := f"{call.name} {arguments_text(resolved.arguments)}") in self._refused:
                return _refusal_error(call.name, self._refused[asked], rule)
            else:
                impact = await _look_up_impact(tool, resolved)
                if isinstance(impact, AgentctlError):
                    return impact
                resolved = replace(resolved, arguments={**resolved.arguments, **impact.pinned})
                if (denied := await self._check(call, resolved, tool, subject)) is not None:
                    denied.impact = impact
                    return denied
                was_checked = True
                question = Question(
                    resolved,
                    tool.effect,
                    decision.why,
                    str(rule),
                    impact,
                    _other_name(call, resolved, tool.spec.target),
                )
                await self._emit(ApprovalAsked(*question))
                answer = await self._approver.approve(question)
                if not answer.granted:
                    self._refused[asked] = answer.by
                    return _refusal_error(call.name, answer.by, rule, impact)
                by = answer.by
                if answer.always:
                    by = f"{answer.by}, always in this run: {rule}"
                    granted = (*self._permissions.granted, rule)
                    self._permissions = self._permissions._replace(granted=granted)
        return _Admitted(resolved, by, decision.kind == "ask", was_checked)


async def _look_up_impact(tool: Tool, call: ToolCall) -> Impact | AgentctlError:
    """Return what a call would do, by the state of things at this moment, or the error that says why it cannot work."""
    if not isinstance(tool, ImpactAware):
        return Impact()
    try:
        impact = await tool.look_up_impact(call.arguments)
        command = call.arguments.get(SHELL_ARGUMENTS.get(call.name, ""))
        if isinstance(command, str):
            from agentctl.permissions.resolved_programs import add_programs  # noqa: PLC0415 - loads a parser

            return await anyio.to_thread.run_sync(add_programs, impact, command)
    except AgentctlError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a tool's own bug must not hide the question
        return Impact(dangers=(f"what it would change could not be looked up: {type(error).__name__}: {error}",))
    return impact


def _other_name(call: ToolCall, resolved: ToolCall, target: str | None) -> str:
    """Return what the model called the target of a call, "" if that is its resolved name."""
    given = call.arguments.get(target or "")
    return given if isinstance(given, str) and given != resolved.arguments.get(target or "") else ""


def _refusal_error(name: str, by: str, rule: Rule, impact: Impact = Impact()) -> ActionDenied:  # noqa: B008 - frozen
    denied = ActionDenied(
        f"{by} said no to {name}; do not try it again another way",
        hint=f"to allow it: --allow {_shell_quoted(rule)}",
    )
    denied.impact = impact
    return denied


def _unasked_error(name: str, rule: Rule, why: str, impact: Impact) -> ActionDenied:
    denied = ActionDenied(
        ". ".join(filter(None, (f"{name} needs approval, and {why}", describe_impact(impact).rstrip(".")))),
        hint=f"to allow it: --allow {_shell_quoted(rule)}",
    )
    denied.impact = impact
    return denied


def _shell_quoted(rule: Rule) -> str:
    import shlex  # noqa: PLC0415 - only a refusal needs it

    return shlex.quote(str(rule))
