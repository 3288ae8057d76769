"""What the tool calls of a run leave behind for its end, and how a resumed run gets it, and its guards, back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from agentctl.context.truncation import find_mark
from agentctl.core.errors import (
    ActionDenied,
    AgentctlError,
    EngineUnavailable,
    SandboxUnavailable,
    TaskFailed,
    Unverified,
)
from agentctl.core.events import Emit, Noted
from agentctl.core.impact import DeniedCall
from agentctl.core.messages import Completion, Message
from agentctl.core.results import FileNotice, ToolCount
from agentctl.permissions.guards import empty_answer_error
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.runner.tool_results import Result, format_for_model, past_result

if TYPE_CHECKING:  # used only by resumed runs, and by runs with a language model
    from agentctl.journal.past_run import PastRun, PastTurn
    from agentctl.permissions.guards import DenialGuard, RepeatGuard
    from agentctl.permissions.repeated_reads import ReadHistory
    from agentctl.runner.unseen import Unseen

FindUnseen = Callable[[str, Collection[str]], "Awaitable[Unseen | None]"]
"""Finds what an answer without a look should have looked at, given its text and the tools that need no approval."""


class LoopOutcome(NamedTuple):
    """The outcome of a loop. ``answer`` is partial unless ``complete``; ``status`` is the exit code's name.

    ``structured`` is the value of an answer by a schema.
    """

    status: str
    answer: str
    complete: bool
    turns: int
    error: AgentctlError | None
    tools: tuple[ToolCount, ...]
    denied: tuple[str, ...]
    changed_files: tuple[FileNotice, ...] = ()
    denied_calls: tuple[DeniedCall, ...] = ()
    structured: Mapping[str, object] | None = None


class Troubles:
    """The error that the last results of a run leave (``error``), and its last good result.

    A denial, or a missing engine or sandbox, is kept as the run's error unless a later call succeeds. ``denied`` is the
    denial that nothing has made up for.
    """

    def __init__(self) -> None:
        self.error: AgentctlError | None = None
        self.denied: ActionDenied | None = None
        self.last_result = ""

    def note(self, results: Sequence[Result], repeats: Sequence[int]) -> None:
        """Take the results of a turn; what the model had already (``repeats``) makes up for no denial."""
        self.error = None
        for result, is_repeat in zip(results, repeats, strict=True):
            if isinstance(result, str):
                self.last_result = result
                self.denied = self.denied if is_repeat else None
                self.error = self.denied
            elif isinstance(result, (ActionDenied, EngineUnavailable, SandboxUnavailable)):
                self.error = result
                self.denied = result if isinstance(result, ActionDenied) else self.denied


def restore_guards(
    past: PastRun,
    troubles: Troubles,
    repeats: RepeatGuard,
    denials: DenialGuard,
    reads: ReadHistory | None,
    dispatch: ToolDispatcher,
) -> tuple[str, ActionDenied | None]:
    """Tell the guards of a resumed run what its complete turns have called, and what came of it.

    Return what they would do behind the last turn: ask for the answer as the named tool was called too often, or end
    the run with a denial.
    """
    too_often, ends = "", None
    turns = past.history[past.asked_at :]  # whoever asks anew wants things looked up anew
    for turn in (turn._replace(calls=dispatch.real_calls(turn.calls)) for turn in turns):
        at_hand = reads.begin_turn(turn.calls, turn.sent) if reads else None
        refused = repeats.check_repeats(turn.calls, at_hand=at_hand) or {}
        results = _results_of(past, turn)
        repeats.add_results([format_for_model(result) for result in results])
        times: list[int] = []
        for call, result, message in zip(turn.calls, results, turn.results, strict=True):
            made, tool = past.calls.get(call.id), dispatch.find(call.name)
            if reads and made is not None and tool is not None:
                reads.look_up(call, made.call, tool)
                if find_mark(made.text or "") is not None:
                    reads.forget(call.id)  # as a result that was cut does not stand whole anywhere
            times.append(reads.repeats_of(call.id, result) if reads else 0)
            if reads:
                reads.record(call.id, result, message)
        last = troubles.error
        troubles.note(results, times)
        ends = denials.check_denials(turn.calls, results, nothing_since=isinstance(last, ActionDenied))
        too_often = reads.too_often(turn.calls, times, refused) if reads else ""
    if troubles.denied is not None:
        troubles.denied.is_past = True
    return too_often, ends


class UnseenGate:
    """Sends an answer back that came without any tool call, if it should have looked at something; once.

    ``find`` finds what that is, given the text and the tools that need no approval; None: every answer is accepted.
    ``told`` is what an earlier part of the run has told the model.
    """

    told: Sequence[str] = ()

    def __init__(self, find: FindUnseen | None, emit: Emit) -> None:
        self._find, self._emit = find, emit
        self._unseen: Unseen | None = None

    async def request(self, text: str, usable: Callable[[], Collection[str]], *, has_turns: bool) -> Message | None:
        """Return what the model is told instead of accepting its answer, None if that is accepted.

        Raises:
            Unverified: an answer was sent back before.
        """
        if self._find is None:
            return None
        was_told, found = self._unseen is not None, self._unseen
        if found is None and (has_turns or self.told):
            found = await self._find(text, usable())
            was_told = found is not None and found.request in self.told
        if found is None:
            return None
        if was_told:
            said = f"the model answered twice without looking at {found.name}"
            raise Unverified(said, hint=f"choose another model, or {found.advice}")
        self._unseen = found
        await self._emit(Noted(f"the answer came without a look at {found.name}: asking for one"))
        return Message("user", found.request)


def check_answer(answer: Completion, troubles: Troubles) -> None:
    """Check that an answer can be the run's.

    Raises:
        TaskFailed: it is a refusal, or empty.
        AgentctlError: the trouble that the last results of tools left.
    """
    if answer.stop == "refusal":
        raise TaskFailed("the model refused the task", hint="explain what the task is for, or choose another model")
    if not answer.text.strip():
        raise empty_answer_error(answer)
    if troubles.error:
        raise troubles.error


def _results_of(past: PastRun, turn: PastTurn) -> list[Result]:
    """Return the results of a complete turn, in the order of its calls; a call that never started was denied."""
    found: list[Result] = []
    for call, message in zip(turn.calls, turn.results, strict=True):
        made = past.calls.get(call.id)
        found.append(_denial(message) if made is None or made.text is None else past_result(made))
    return found


def _denial(message: Message) -> ActionDenied:
    said, _, hint = message.text.removeprefix("denied: ").partition("\nhint: ")
    return ActionDenied(said, hint=hint)
