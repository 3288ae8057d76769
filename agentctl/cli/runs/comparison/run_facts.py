"""Read from a journal what two runs can be compared by: choices, limits, texts, tool calls and amounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from agentctl.cli.exit_codes import ExitStatus
from agentctl.cli.runs.context_usage import Fields, mapping, number, text
from agentctl.cli.runs.run_parts import PartLimit, read_limits

#: What was chosen for a run, by its name in the records of its start.
CHOICES = ("agent", "provider", "model", "client", "sandbox", "workdir", "version")
USAGE = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")

Amount = int | float | None


Outcome = Literal["done", "failed", "denied", "none"]


class CallFacts(NamedTuple):
    """A tool call that the model asked for, in its turn. ``outcome`` is "none" if the journal has no result of it."""

    turn: int
    name: str
    arguments: Fields
    outcome: Outcome = "none"


class RunFacts(NamedTuple):
    """A run as it is compared. ``status`` is None if it has not ended; amounts that are unknown are None.

    ``limits`` are those of its last part, and so are ``settings`` (flags) and ``digests``. In a fork, ``calls`` and
    ``prompt`` are also those of the run that it goes on from; its amounts are its own.
    """

    run_id: str
    started_at: str
    status: str | None
    exit_code: int | None
    choices: Mapping[str, str | None]
    labels: Fields
    settings: Fields
    limits: Mapping[str, PartLimit]
    digests: Fields
    task: str
    prompt: str
    answer: str
    error: str
    calls: tuple[CallFacts, ...]
    amounts: Mapping[str, Amount]


def read_facts(records: Iterable[Fields], run_id: str) -> RunFacts:
    """Return the facts of a journal; unknown records, as of a later version, are skipped."""
    reading = _Reading(run_id)
    for record in records:
        reading.advance(record)
    return reading.facts()


class _Reading:
    """What was read of a journal so far."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._start: Fields = {}
        self._last_part: Fields = {}
        self._result: Fields = {}
        self._prompt: str | None = None
        self._turn = 0
        self._calls: dict[int, CallFacts] = {}
        self._by_id: dict[str, int] = {}
        self._requests = self._cuts = self._messages_cut = 0
        self._spent: dict[str, Amount] = dict.fromkeys((*USAGE, "nano_usd", "in_doubt_nano_usd"), 0)

    def advance(self, record: Fields) -> None:
        """Read one record; of the run that it was forked from, prompts and tool calls alone."""
        match record.get("event"):
            case "turn_started":
                self._turn = number(record, "turn") or self._turn + 1
            case "message_added" if self._prompt is None and mapping(record, "message").get("role") == "system":
                self._prompt = text(mapping(record, "message"), "text")
            case "model_answered":
                calls = record.get("tool_calls")
                for call in calls if isinstance(calls, list) else ():
                    if isinstance(call, dict):
                        self._add_call(call)
            case "tool_finished":
                self._conclude(record, "failed" if mapping(record, "error") else "done")
            case "tool_denied":
                self._conclude(record, "denied")
            case _ if text(record, "run_id") in ("", self._run_id):
                self._advance_own(record)
            case _:
                pass

    def _advance_own(self, record: Fields) -> None:
        match record.get("event"):
            case "run_started":
                self._start = self._start or record
                self._last_part = record
            case "run_resumed":
                self._last_part, self._result = record, {}
            case "call_sent":
                self._requests += 1
            case "call_settled":
                for name in USAGE:
                    self._spend(name, number(mapping(record, "usage"), name))
                self._spend("nano_usd", record.get("cost_nano"))
            case "call_doubted":
                self._spend("in_doubt_nano_usd", record.get("nano"))
            case "context_pruned":
                self._cuts += 1
                self._messages_cut += number(record, "messages_cut")
            case "run_finished":
                self._result = mapping(record, "result")
            case _:
                pass

    def _spend(self, name: str, value: object) -> None:
        before = self._spent[name]
        self._spent[name] = before + value if isinstance(value, int) and before is not None else None

    def _add_call(self, call: Fields) -> None:
        place = len(self._calls)
        self._calls[place] = CallFacts(self._turn, text(call, "name"), mapping(call, "arguments"))
        self._by_id[text(call, "id")] = place

    def _conclude(self, record: Fields, outcome: Outcome) -> None:
        place = self._by_id.get(text(mapping(record, "call"), "id"))
        if place is not None:
            self._calls[place] = self._calls[place]._replace(outcome=outcome)

    def facts(self) -> RunFacts:
        """Return what was read."""
        start, result = self._start, self._result
        chosen = {**start, **{name: value for name, value in self._last_part.items() if name in CHOICES}}
        known = ExitStatus.__members__.get(text(result, "status"))
        return RunFacts(
            run_id=self._run_id,
            started_at=text(start, "at"),
            status=text(result, "status") or None if known is None else known.shown,
            exit_code=None if known is None else known.value,
            choices={name: text(chosen, name) or None for name in CHOICES},
            labels=mapping(start, "labels"),
            settings=mapping(self._last_part, "flags"),
            limits={one.name: one for one in read_limits(self._last_part)},
            digests=mapping(self._last_part, "digests"),
            task=text(start, "task"),
            prompt=self._prompt or "",
            answer=text(result, "answer"),
            error=text(mapping(result, "error"), "message"),
            calls=tuple(self._calls.values()),
            amounts=self._amounts(),
        )

    def _amounts(self) -> Mapping[str, Amount]:
        result, usage, took = self._result, mapping(self._result, "usage"), self._result.get("duration_s")
        spent = dict(self._spent)
        if result:
            nano, doubt = result.get("cost_nano"), result.get("in_doubt_nano")
            spent |= {name: number(usage, name) for name in USAGE}
            spent["nano_usd"] = nano if isinstance(nano, int) else None
            spent["in_doubt_nano_usd"] = doubt if isinstance(doubt, int) else None
        return {
            "turns": number(result, "turns") if result else self._turn,
            "requests": self._requests,
            "tool_calls": len(self._calls),
            **spent,
            "context_cuts": self._cuts,
            "messages_cut": self._messages_cut,
            "duration_s": took if isinstance(took, (int, float)) else None,
        }
