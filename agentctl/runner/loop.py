"""The loop of a run: ask the model, run its tool calls, repeat until there is an answer or a reason to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from agentctl.budget.breaker import Overrun
from agentctl.budget.last_answer import BudgetNotices, summarize_findings, without_refusals
from agentctl.core.errors import (
    ActionDenied,
    AgentctlError,
    BudgetExceeded,
    ProviderError,
    StateError,
    TaskFailed,
    UnknownPrice,
)
from agentctl.core.events import Emit, ModelAnswered, Noted, TurnStarted
from agentctl.core.messages import Completion, Message, ToolCall, ToolSpec
from agentctl.core.results import FOUND_SO_FAR, RESULTS_SO_FAR
from agentctl.permissions import guards
from agentctl.permissions.guards import DenialGuard, LoopLimits, RepeatGuard, limit_tool_calls
from agentctl.runner.conversation import Conversation
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.plan import FallBack, RunInput
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.runner.tool_results import format_for_model
from agentctl.runner.troubles import FindUnseen, LoopOutcome, Troubles, UnseenGate, check_answer, restore_guards
from agentctl.runner.turn_requests import TurnRequests

if TYPE_CHECKING:  # used only by runs with a language model
    from agentctl.journal.past_run import PastRun
    from agentctl.runner.structured_answer import StructuredAnswer
    from agentctl.runner.text_calls import TextCallGuard


class Loop:
    """Runs one conversation. ``outcome`` can be called at any time, also after a cancellation.

    A provider that is not a language model (``metered`` False) gets no schemas and asks for tool calls in one turn
    only: their results are the answer, and the failure of one ends the run. A language model that repeats a read, says
    nothing, names a tool instead or reaches the turn limit is asked once for its answer from the results
    (``answer_gate``). ``find_unseen`` checks an answer that comes without any tool call; None: it is accepted.
    ``fall_back`` lets another provider take over from one that failed; None: none can. ``structured`` holds the answer
    against the user's schema: while it is not valid, the model is asked again, without tools and beyond the turn limit.
    """

    def __init__(
        self,
        *,
        calls: ModelCalls,
        dispatch: ToolDispatcher,
        conversation: Conversation,
        emit: Emit,
        limits: LoopLimits,
        metered: bool = True,
        run_input: RunInput | None = None,
        find_unseen: FindUnseen | None = None,
        fall_back: FallBack | None = None,
        structured: StructuredAnswer | None = None,
    ) -> None:
        self._conversation, self._input = conversation, run_input
        self._calls, self._emit, self._limits, self._metered = calls, emit, limits, metered
        self._dispatch, self._is_stuck = dispatch, False
        self._requests = TurnRequests(calls, conversation, run_input, fall_back, structured)
        self._repeats, self._denials = RepeatGuard(limits.identical_calls), DenialGuard()
        self._text_calls: TextCallGuard | None = None
        self._unseen = UnseenGate(find_unseen if metered and not (run_input and run_input.data) else None, emit)
        self._structured, self._answer = structured, Completion()
        self._was_asked = False  # for an answer by the schema, by the last request
        self._reads = None
        if metered:
            from agentctl.permissions.repeated_reads import ReadHistory  # noqa: PLC0415 - not for builtin

            self._reads = ReadHistory(limits.identical_calls)
        self._notices = BudgetNotices()
        self._call_ids, self._turn = set[str](), 0
        self._words = self._found = self._later = ""
        self._troubles = Troubles()

    async def run(
        self, system: str, task: str, behind: str = "", past: PastRun | None = None, *, is_new_task: bool = False
    ) -> LoopOutcome:
        """Work on ``task`` until there is an answer or an error, and return it as an outcome.

        ``behind`` is what the model reads after the task and its data. With ``past``, go on from there instead, with
        ``task`` as the next message ("": none); if it ``is_new_task``, guards and denials of earlier calls end.
        """
        try:
            going_on = past and self._go_on(past, task, behind, is_new_task=is_new_task)
            await (going_on or self._converse(system, task, behind))
        except AgentctlError as error:
            try:
                await self._close(error)
            except (Overrun, StateError) as worse:
                return self.outcome(worse)
            return self.outcome(error)
        return self.outcome()

    async def _close(self, error: AgentctlError) -> None:
        """Keep the findings of a run that a limit, its provider or a repeated call stopped, if it can in a last answer.

        Raises:
            Overrun: the last answer cost more than its hold.
            StateError: its cost cannot be written.
        """
        if not self._metered or not any(message.role == "tool" for message in self._conversation.messages):
            return
        if (
            isinstance(error, BudgetExceeded)
            and not isinstance(error, Overrun)
            and not error.partial
            and error.verdict.unit != "calls"  # a last answer would be one more call
        ):
            notice = Noted(f"{error.verdict.limit} has no room for another turn: asking for a last answer")
            answer = await self._calls.last_answer(self._conversation.messages, notice)
            if answer is not None and answer.text.strip():
                error.partial = answer.text
                await self._emit(ModelAnswered(self._turn, answer.text, (), answer.stop, answer.model))
                return
            if self._calls.asked_last:
                await self._emit(Noted("no final answer could be obtained: showing the results so far"))
        if self._is_stuck or isinstance(error, (BudgetExceeded, ProviderError, UnknownPrice)):
            messages = self._conversation.messages
            found = summarize_findings(without_refusals(messages) if self._is_stuck else messages)
            words = error.partial if isinstance(error, BudgetExceeded) else ""
            words = words or self._unfinished_words() or self._words
            self._found = f"{words}\n\n{FOUND_SO_FAR}\n{found}".strip() if found else words

    def outcome(self, error: AgentctlError | None = None) -> LoopOutcome:
        """Return the outcome so far; ``error`` None: it ended well."""
        partial = error.partial if isinstance(error, BudgetExceeded) else ""
        words = partial or self._found or self._unfinished_words() or self._words
        status, tools = error.status if error else "done", self._dispatch
        denied = (tools.denied, tools.changed_files, tools.denied_calls)
        value = self._structured.value if self._structured and error is None else None
        return LoopOutcome(status, words, error is None, self._turn, error, tools.counts, *denied, structured=value)

    def _unfinished_words(self) -> str:
        """Return the text that the model had begun when the run was interrupted, as it is paid for."""
        words = self._calls.unfinished if self._metered else ""
        return words if words.strip() else ""

    async def _converse(self, system: str, task: str, behind: str) -> None:
        await self._conversation.add(Message("system", system))
        data = self._input.data if self._input else ""
        await self._conversation.add(Message("user", task + data + behind))
        await self._come_to_an_answer()

    async def _go_on(self, past: PastRun, words: str, behind: str, *, is_new_task: bool) -> None:
        """Go on from the last complete step of an earlier part; the user's words follow the results of that turn."""
        self._turn, self._call_ids = past.turns, {call.id for turn in past.history for call in turn.calls}
        self._notices.restore(past.messages)
        ends: tuple[str, ActionDenied | None] = ("", None)
        if past.status != "failed" and not is_new_task:  # a failed run was ended by its guards
            self._words, self._unseen.told = past.last_text, past.reminders
            ends = restore_guards(past, self._troubles, self._repeats, self._denials, self._reads, self._dispatch)
        said = f"{words}{self._input.data if self._input else ''}{behind}" if words else ""
        answer = next((one.completion for one in past.answers if one.purpose == "turn"), None)
        if said and answer is not None and answer.tool_calls:
            self._later = said
        elif said:
            if answer is not None:
                await self._conversation.add(answer.as_message())
                self._turn += 1
            self._calls.past.clear()
            await self._conversation.add(Message("user", said))
        repeated, denied = ends if past.ends_with_turn and not said else ("", None)
        if denied is not None:
            self._is_stuck = True
            raise denied
        closing = "" if said or self._turn >= self._limits.max_turns else past.closing_tool
        await self._come_to_an_answer(repeated or closing)

    async def _come_to_an_answer(self, repeated: str = "") -> None:
        """Take turns until there is an answer; one by a schema is validated, and asked for again while it is wrong.

        ``repeated`` is the tool for whose repeated call the run was asked for its answer, "" if it was not.

        Raises:
            SchemaMismatch: it is still wrong after the retries.
        """
        structured = self._structured
        is_asked = structured is not None and structured.restore(self._conversation.messages)
        if structured is not None and not self._metered:
            await structured.take_rows(self._take_turns, self._dispatch.redact)
        elif not is_asked:
            await (self._close_repeated(repeated) if repeated else self._take_turns())
        while structured is not None and structured.value is None:
            if is_asked:
                self._turn += 1
                await self._emit(TurnStarted(self._turn))
                answer, _ = await self._ask((), is_closing=True)
                if answer.stop == "refusal":
                    check_answer(answer, self._troubles)
            words = await structured.next_words(self._answer, was_asked=self._was_asked)
            if is_asked := bool(words):
                await self._conversation.add(Message("user", words))
        if structured is not None:
            self._words, self._calls.unfinished = structured.line, ""

    async def _take_turns(self) -> None:
        offered = self._dispatch.offered_tools() if self._metered else ()
        while self._turn < self._limits.max_turns:
            self._turn += 1
            await self._emit(TurnStarted(self._turn))
            answer, refused = await self._ask(offered)
            if answer.stop == "refusal" or not answer.tool_calls:
                if answer.stop != "refusal" and not answer.text.strip() and self._troubles.last_result:
                    await self._close_with((failure := guards.empty_answer_error(answer)).message, failure)
                    return
                if self._text_calls is not None and self._text_calls.flaw:
                    if await self._tell_of_text(self._text_calls):
                        continue
                    return
                check_answer(answer, self._troubles)
                if await self._send_back():
                    continue
                if self._tells_of_tools_only(answer.text, offered):
                    await self._close_with(
                        "the answer names a tool, but nothing that it returned", guards.no_answer_error()
                    )
                    return
                if answer.stop == "length" and self._structured is None:
                    cut = "the answer was cut at its output limit; raise --max-output-tokens for more"
                    await self._emit(Noted(cut, "warning"))
                return
            if await self._act(answer.tool_calls, refused):
                return
            if self._later:
                await self._conversation.add(Message("user", self._later))
                self._later = ""
        spent = TaskFailed(f"no answer after {self._turn} turns", hint="raise --max-turns, or ask for less at once")
        if not self._metered or not any(message.role == "tool" for message in self._conversation.messages):
            raise spent
        await self._close_with(f"no answer after {self._turn} turns", spent, in_time=False)

    async def _ask(
        self, offered: tuple[ToolSpec, ...], *, is_closing: bool = False
    ) -> tuple[Completion, Mapping[str, str]]:
        """Ask the model; return its answer with the real calls, and why some (by id) must not run.

        ``is_closing``: none is run.
        """
        messages, answer = await self._requests.ask(offered, turn=self._turn)
        if self._conversation.was_cut:
            self._repeats.forget_results()
        await self._conversation.learn(answer, offered)
        if is_closing:
            answer = replace(answer, tool_calls=())
        self._was_asked = self._requests.carry_schema(offered)
        if self._was_asked:
            self._text_calls = None  # the text is an answer by the schema, right or wrong, and no call
        elif offered and not answer.tool_calls and (self._text_calls or set("{<[(") & set(answer.text)):
            from agentctl.runner.text_calls import TextCallGuard  # noqa: PLC0415 - few answers look like a call

            told = self._unseen.told
            self._text_calls = self._text_calls or TextCallGuard(self._emit, self._dispatch.unasked_tools, told)
            answer = await self._text_calls.read(answer, offered, messages)
        calls, refused = limit_tool_calls(
            answer.tool_calls, self._limits, turn=self._turn, known=self._dispatch.names, taken=self._call_ids
        )
        self._call_ids |= {call.id for call in calls}
        self._answer = answer = replace(answer, tool_calls=calls)
        real = self._dispatch.real_calls(calls)
        if answer.text.strip() and (self._metered or not calls):
            self._words = answer.text
        elif answer.reasoning.strip() and not calls:
            self._words = answer.reasoning.strip()
        await self._emit(ModelAnswered(self._turn, answer.text, real, answer.stop, answer.model))
        await self._conversation.add(answer.as_message())
        return replace(answer, tool_calls=real), refused

    async def _tell_of_text(self, guard: TextCallGuard) -> bool:
        """Tell the model, once, that its call as text was not run; return whether to go on.

        Raises:
            TaskFailed: it was told before, and no tool has returned anything.
        """
        try:
            await self._conversation.add(await guard.tell())
        except TaskFailed as failure:
            if not self._troubles.last_result:
                raise
            await self._close_with(failure.message, failure)
            return False
        return True

    async def _act(self, calls: tuple[ToolCall, ...], refused: Mapping[str, str]) -> bool:
        """Run the tool calls and add their results in order; return whether a result is the final answer.

        A denial, or a missing engine or sandbox, is kept as the run's error unless a later call in this or a later turn
        succeeds. A denied call that is made again ends the run as denied.
        """
        reads = self._reads
        at_hand = reads.begin_turn(calls, self._conversation.messages) if reads else None
        repeated = self._repeats.check_repeats(calls, at_hand=at_hand)
        if repeated is None:
            denied = self._denials.error_of(calls)
            if denied is None and reads and (name := reads.overdue):
                return await self._close_repeated(name)
            self._is_stuck = True
            raise denied or guards.repeated_call_error(calls[-1].name)
        results = await self._dispatch.run(calls, {**refused, **repeated}, reads)
        self._repeats.add_results([format_for_model(result) for result in results])
        times = [reads.repeats_of(call.id, result) if reads else 0 for call, result in zip(calls, results, strict=True)]
        last = self._troubles.error
        self._troubles.note(results, times)
        notice = self._notices.notice(self._calls.uses) if self._metered else ""
        for place, (call, result) in enumerate(zip(calls, results, strict=True)):
            text = format_for_model(result)
            if reads and times[place] >= reads.most - 1:
                text = reads.mark(text)
            if notice and place == len(results) - 1:
                text = f"{text}\n\n{notice}"
            message = Message("tool", text, tool_call_id=call.id)
            await self._conversation.add(message)
            if reads:
                reads.record(call.id, result, message)
        again = self._denials.check_denials(calls, results, nothing_since=isinstance(last, ActionDenied))
        if again is not None:
            self._is_stuck = True
            raise again
        if reads and (name := reads.too_often(calls, times, repeated)):
            return await self._close_repeated(name)
        if self._metered:
            return False
        self._words = "\n\n".join([result for result in results if isinstance(result, str)])
        failed = next((result for result in results if isinstance(result, AgentctlError)), None)
        if failed is not None:
            raise failed
        return True

    async def _close_repeated(self, name: str) -> bool:
        """Ask for the answer of a model that calls a tool again and again although it has the result; return True."""
        await self._close_with(
            f"{name} was called again although its result is at hand", guards.repeated_call_error(name)
        )
        return True

    async def _close_with(self, why: str, failure: TaskFailed, *, in_time: bool = True) -> None:
        """Ask once for the answer from the results alone, and keep it as the run's answer, partial if not ``in_time``.

        Raises:
            ActionDenied: a denied call is the last thing that happened.
            TaskFailed: ``failure``, if it is not ``in_time`` or there is no answer: then the last result is kept.
            BudgetExceeded: a limit has no room for the request.
            ProviderError: it failed, and the run had time left.
        """
        from agentctl.runner.answer_gate import ask_from_results, is_answer  # noqa: PLC0415 - few runs need it

        await self._emit(Noted(f"{why}: asking for an answer from the results so far"))
        answer = None
        try:
            answer = await self._requests.with_fallbacks(partial(ask_from_results, self._calls, self._conversation))
        except ProviderError as error:
            if in_time:
                raise
            await self._emit(Noted(f"the answer could not be obtained: {error.message}", "warning"))
        if answer is not None:
            await self._emit(ModelAnswered(self._turn, answer.text, (), answer.stop, answer.model))
        if answer is not None and is_answer(answer, self._dispatch.offered_tools(), self._conversation.messages):
            self._words, self._answer, self._was_asked = answer.text, answer, False
            await self._conversation.add(Message("assistant", answer.text))
            ends = self._troubles.denied or (self._troubles.error if in_time else failure)
            if ends is not None:
                raise ends
            return
        self._calls.unfinished = ""
        if answer is not None and answer.stop == "length":
            self._words = answer.text
        await self._emit(Noted("no final answer could be obtained: showing the results so far"))
        found = f"{RESULTS_SO_FAR}\n{self._troubles.last_result}" if self._troubles.last_result else ""
        self._found = f"{self._words}\n\n{found}".strip()
        raise self._troubles.denied or failure

    def _tells_of_tools_only(self, text: str, offered: tuple[ToolSpec, ...]) -> bool:
        if self._was_asked or not self._troubles.last_result or not any(tool.name in text for tool in offered):
            return False
        from agentctl.runner.answer_gate import tells_of_tools_only  # noqa: PLC0415 - few answers name a tool

        return tells_of_tools_only(text, offered, self._conversation.messages)

    async def _send_back(self) -> bool:
        """Send an answer back that came without any tool call, if it should have looked at something; once.

        Raises:
            Unverified: the answer was sent back before.
        """
        if any(message.role == "tool" for message in self._conversation.messages):
            return False
        has_turns = self._turn < self._limits.max_turns
        request = await self._unseen.request(self._words, self._dispatch.unasked_tools, has_turns=has_turns)
        if request is not None:
            await self._conversation.add(request)
        return request is not None
