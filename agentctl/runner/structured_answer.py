"""An answer by a JSON schema: how each request of a run asks for it, and what the model is told while it is not valid.

A provider that can be held to a schema beside tools is sent it with every request. Any other model answers in its own
words first, and is then asked for the answer by the schema, in a turn without tools. Whoever promises what, the answer
is validated here.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import get_args

import anyio.to_thread

from agentctl.core.answer_schema import AnswerProblem, AnswerProblems, AnswerSchema, SchemaMismatch
from agentctl.core.events import Emit, Noted
from agentctl.core.messages import AnswerFormat, AnswerSpec, Completion, Message, Request, ToolSpec
from agentctl.core.pricing import ModelFacts
from agentctl.core.schema_subsets import SchemaSubset
from agentctl.core.text import escape_in_json
from agentctl.runner.lookup_rows import answer_of_rows
from agentctl.tools.tables import collect_rows

_NAME = "answer"
_ASKED = "Give your final answer to the task now, as one JSON value by the schema and nothing else: no word around it."
_WRONG = "That is not an answer by the schema:"
_AGAIN = "Give the whole answer again, corrected, as one JSON value and nothing else."
_SHOWN = "\n\nAnswer with one JSON value and nothing else. It must be valid by this JSON Schema:\n"
_MOST_SAID = 200  # characters of a problem in a line for people


def format_by(schema: AnswerSchema) -> AnswerFormat:
    """Return the form of an answer by a schema."""
    spec = AnswerSpec(_NAME, "The answer to the task.", schema.document)
    return AnswerFormat(spec, frozenset(subset for subset in get_args(SchemaSubset) if schema.fits(subset)))


def carries_format(facts: ModelFacts, asked: AnswerFormat, tools: Sequence[ToolSpec]) -> bool:
    """Return whether a request with these tools asks for the answer by the schema: one without any always does."""
    native = facts.native_format
    return not tools or (native is not None and native.with_tools and native.subset in asked.fits)


def first_format(facts: ModelFacts, schema: AnswerSchema, tools: Sequence[ToolSpec]) -> AnswerFormat | None:
    """Return the form that the first request of a run asks for, None if it asks for none."""
    asked = format_by(schema)
    return asked if carries_format(facts, asked, tools) else None


def formatted(facts: ModelFacts, request: Request) -> Request:
    """Return a request that asks for its ``answer_format`` as the provider takes it: by its own means, or in words.

    One with tools does so by the provider's means or not at all. One without asks in words, too: some servers take a
    schema and show it to no model, and some take it and ignore it. The words stand in the last message, so that what is
    before it stays the same from turn to turn.
    """
    asked, native = request.answer_format, facts.native_format
    if asked is None:
        return request
    if request.tools:
        return request if carries_format(facts, asked, request.tools) else replace(request, answer_format=None)
    *before, last = request.messages
    shown = replace(last, text=f"{last.text}{_SHOWN}{_as_text(asked.spec.parameters)}")
    is_native = native is not None and native.subset in asked.fits
    return replace(request, messages=(*before, shown), answer_format=asked if is_native else None)


def _as_text(schema: Mapping[str, object]) -> str:
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def tries_of(messages: Sequence[Message]) -> int | None:
    """Return how many answers were sent back, if the end of a conversation asks for one by the schema; else None."""
    tries = None
    for message in reversed(messages):
        if message.role == "user" and message.text.startswith((_ASKED, _WRONG)):
            tries = (tries or 0) + message.text.startswith(_WRONG)
        elif tries is None or message.role != "assistant" or message.tool_calls:
            break
    return tries


class StructuredAnswer:
    """The answer of one run by a schema: ``value``, None until valid. At most ``retries`` answers are sent back."""

    def __init__(self, schema: AnswerSchema, retries: int, emit: Emit) -> None:
        self._schema, self._retries, self._emit = schema, retries, emit
        self._tries = 0
        self.format = format_by(schema)
        self.value: Mapping[str, object] | None = None

    def restore(self, messages: Sequence[Message]) -> bool:
        """Go on with a conversation, in which what was sent back counts; return whether its end asks for the answer."""
        tries = tries_of(messages)
        self._tries = tries or 0
        return tries is not None

    async def take_rows(self, work: Callable[[], Awaitable[None]], redact: Callable[[str], str]) -> None:
        """Take the rows that tools show during ``work`` as the answer, without secrets.

        Raises:
            SchemaMismatch: they are not valid by the schema.
        """
        with collect_rows() as tables:
            await work()
        self.value = answer_of_rows(self._schema, tables, redact)

    def is_carried(self, facts: ModelFacts, tools: Sequence[ToolSpec]) -> bool:
        """Return whether a request with these tools asks the model for the answer by the schema."""
        return facts.metered and carries_format(facts, self.format, tools)

    def specs_read(self, facts: ModelFacts, tools: Sequence[ToolSpec]) -> tuple[AnswerSpec, ...]:
        """Return the schema as often as the model reads it in a request with these tools.

        That is twice in one without tools, if the provider shows the schema to the model itself: it is in words, too.
        """
        if not self.is_carried(facts, tools):
            return ()
        native, spec = facts.native_format, self.format.spec
        is_twice = not tools and native is not None and native.with_tools and native.subset in self.format.fits
        return (spec, spec) if is_twice else (spec,)

    async def next_words(self, answer: Completion, *, was_asked: bool) -> str:
        """Return what the model is told after its answer, "" once that is valid.

        ``was_asked``: its request asked for the answer by the schema.

        Raises:
            SchemaMismatch: the answer is cut, or not valid, and no retry is left.
        """
        try:
            self.value = await self._validate(answer.text)
        except AnswerProblems as error:
            return await self._send_back(answer, error, was_asked=was_asked)
        return ""

    async def _validate(self, text: str) -> Mapping[str, object]:
        found = await anyio.to_thread.run_sync(partial(self._schema.validate, text))  # it may take seconds
        if not isinstance(found, Mapping):  # every schema is of an object
            raise AnswerProblems((AnswerProblem("", "not an object"),))
        return found

    async def _send_back(self, answer: Completion, error: AnswerProblems, *, was_asked: bool) -> str:
        if not was_asked:
            return _ASKED
        if answer.stop == "length":
            said = "the answer was cut at its output limit before it was a whole JSON value"
            raise SchemaMismatch(said, hint="raise --max-output-tokens, or ask for less")
        first = str(error.problems[0])[:_MOST_SAID]
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        if self._tries >= self._retries:
            times = f" after {self._tries} retries" if self._tries > 1 else " after 1 retry" if self._tries else ""
            raise SchemaMismatch(
                f"the answer is not valid by the schema{times}: {first}{more}",
                hint="raise --schema-retries, loosen the schema, or choose another model",
            )
        self._tries += 1
        said = f"the answer is not valid by the schema: {first}{more}: asking again, {self._tries} of {self._retries}"
        await self._emit(Noted(said, "warning"))
        problems = "\n".join(f"- {problem}" for problem in error.problems)
        return f"{_WRONG}\n{problems}\n\n{_AGAIN}"

    @property
    def line(self) -> str:
        """The value as JSON on one line, which is safe on a terminal as it is."""
        return escape_in_json(_as_text(self.value or {}))
