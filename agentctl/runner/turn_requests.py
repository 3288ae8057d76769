"""The requests of a run's turns: as much of the conversation as fits, the answer's schema, and the fallbacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from agentctl.core.errors import ContextOverflow, ProviderError
from agentctl.core.messages import Completion, Message, ToolSpec
from agentctl.runner.conversation import Conversation
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.plan import FallBack, RunInput, hint_at_data

if TYPE_CHECKING:  # used only by runs with a schema
    from agentctl.runner.structured_answer import StructuredAnswer

_T = TypeVar("_T")


class TurnRequests:
    """Asks the model of one run, turn after turn.

    ``run_input`` is the data beside the task; it must all have come before the first request. ``fall_back`` lets
    another provider take over from one that failed; None: none can. ``structured`` has the schema of the answer.
    """

    def __init__(
        self,
        calls: ModelCalls,
        conversation: Conversation,
        run_input: RunInput | None,
        fall_back: FallBack | None,
        structured: StructuredAnswer | None,
    ) -> None:
        self._calls, self._conversation, self._input = calls, conversation, run_input
        self._fall_back, self._structured = fall_back, structured

    def carry_schema(self, offered: tuple[ToolSpec, ...]) -> bool:
        """Return whether requests with these tools ask the model of now for the answer by the schema."""
        return self._structured is not None and self._structured.is_carried(self._calls.facts, offered)

    async def ask(self, offered: tuple[ToolSpec, ...], *, turn: int) -> tuple[tuple[Message, ...], Completion]:
        """Ask with as much of the conversation as fits; return what was sent of it, and the answer.

        Raises:
            ContextOverflow: the conversation cannot be made to fit.
            BudgetExceeded: a limit would be passed.
            ProviderError: no answer, and no fallback took over.
            StateError: the ledger cannot be written.
        """
        return await self.with_fallbacks(partial(self._ask_fitting, offered, turn))

    async def _ask_fitting(self, offered: tuple[ToolSpec, ...], turn: int) -> tuple[tuple[Message, ...], Completion]:
        asked = self._structured.format if self._structured and self.carry_schema(offered) else None
        structured = self._structured
        self._conversation.answer_specs = structured.specs_read(self._calls.facts, offered) if structured else ()
        ask = partial(self._calls.ask, tools=offered, with_reserve=turn > 1, answer_format=asked)
        if self._calls.past.begin_turn(turn):  # it was sent, and answered, as it is
            messages = self._conversation.messages
            return messages, await ask(messages)
        try:
            if turn == 1 and self._structured is not None and asked is None:  # later on it would be paid for in vain
                await self._conversation.check_room(self._structured.format.spec)
            messages = await self._conversation.prepare(offered)
        except ContextOverflow as error:
            if turn == 1 and self._input is not None and self._input.data:
                hint_at_data(error)
            raise
        if turn == 1 and self._input is not None:
            self._input.refuse_late()
        try:
            answer = await ask(messages)
        except ContextOverflow as error:
            messages = await self._conversation.shorten(error, offered)
            answer = await ask(messages)
        return messages, answer

    async def with_fallbacks(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Return what ``ask`` returns; where its provider fails for good, a fallback takes over, if there is one.

        Raises:
            ProviderError: none took over.
        """
        while True:
            try:
                return await ask()
            except ProviderError as error:
                failure = error if self._fall_back is None else await self._fall_back(error)
                if failure is not None:
                    raise failure from failure.__cause__
