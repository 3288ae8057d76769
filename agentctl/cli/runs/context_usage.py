"""Compute from a journal how full the context was at each turn; also type-safe readers of a record's fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from agentctl.core.events import ContextPruned

Fields = Mapping[str, object]

#: The marker of a cut in a tool result; the group matches if a file of the run has the full result.
_CUT = re.compile(r"\[\.\.\. [^\n]{0,300}\b(?:cut|left out) here([^\n]{0,40}\"run:)?")


def mapping(record: Fields, name: str) -> Fields:
    """Return the object ``name`` of a record, empty if absent or of another type."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def text(record: Fields, name: str) -> str:
    """Return the string ``name`` of a record, empty if absent or of another type."""
    value = record.get(name)
    return value if isinstance(value, str) else ""


def number(record: Fields, name: str) -> int:
    """Return the integer ``name`` of a record, 0 if absent or of another type."""
    value = record.get(name)
    return value if isinstance(value, int) else 0


def local_time(at: str) -> str:
    """Return the time ``at`` of a record in local time, "" if it is invalid."""
    with suppress(ValueError):
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    return ""


class TurnCharge(NamedTuple):
    """The provider's usage report for one request; ``cached`` is included in ``input_tokens``. None: unknown."""

    input_tokens: int | None
    cached: int
    nano: int | None


_NO_CHARGE = TurnCharge(None, 0, None)


@dataclass(frozen=True, slots=True)
class ContextTurn:
    """The tokens that one turn sent, by our count; None: not measured.

    ``cuts`` and the requests for ``summaries`` came before it was sent. ``charges`` are those of its own requests; only
    the first of them says something about the context.
    """

    number: int
    messages: int = 0
    tokens: int | None = None
    limit: int = 0
    counted_by: str = ""
    cuts: tuple[ContextPruned, ...] = ()
    summaries: tuple[TurnCharge, ...] = ()
    charges: tuple[TurnCharge, ...] = ()

    @property
    def own(self) -> TurnCharge:
        """The provider's usage report for the first request of the turn."""
        return self.charges[0] if self.charges else _NO_CHARGE

    @property
    def percent(self) -> int:
        """How full the context was, in whole percent."""
        return 0 if self.tokens is None or not self.limit else (200 * self.tokens + self.limit) // (2 * self.limit)


class ContextUsage(NamedTuple):
    """The turns of a run; ``status`` is None until it ends, ``metered`` is False if no model is used.

    ``results_cut`` counts tool results that were cut; ``results_kept`` of them are saved in full in files of the run.
    """

    provider: str = ""
    model: str | None = None
    at: str = ""
    metered: bool = True
    turns: tuple[ContextTurn, ...] = ()
    results_cut: int = 0
    results_kept: int = 0
    status: str | None = None

    @property
    def cuts(self) -> tuple[ContextPruned, ...]:
        """All cuts, in order."""
        return tuple(cut for turn in self.turns for cut in turn.cuts)

    @property
    def summaries(self) -> tuple[TurnCharge, ...]:
        """All requests for a summary, in order."""
        return tuple(charge for turn in self.turns for charge in turn.summaries)

    @property
    def measured(self) -> tuple[ContextTurn, ...]:
        """The turns whose tokens are known."""
        return tuple(turn for turn in self.turns if turn.tokens is not None)

    @property
    def largest(self) -> ContextTurn | None:
        """The turn with the most tokens; the first of several."""
        return max(self.measured, key=lambda turn: turn.tokens or 0, default=None)


def read_context_usage(records: Iterable[Fields]) -> ContextUsage:
    """Return the context usage from the records of a journal; skip unknown records, as of a later version."""
    found, turns = ContextUsage(), list[ContextTurn]()
    for record in records:
        match record.get("event"):
            case "run_started":
                model = record.get("model")
                found = found._replace(
                    provider=text(record, "provider"),
                    model=model if isinstance(model, str) else None,
                    at=text(record, "at"),
                    metered=record.get("metered") is not False,
                )
            case "turn_started":
                turns.append(ContextTurn(number(record, "turn") or len(turns) + 1))
            case "message_added":
                message = mapping(record, "message")
                mark = _CUT.search(text(message, "text")) if message.get("role") == "tool" else None
                if mark is not None:
                    kept = found.results_kept + (mark[1] is not None)
                    found = found._replace(results_cut=found.results_cut + 1, results_kept=kept)
            case "run_resumed":
                found = found._replace(status=None)
            case "run_finished":
                found = found._replace(status=text(mapping(record, "result"), "status"))
            case _ if turns:
                turns[-1] = _advance_turn(turns[-1], record)
            case _:
                pass
    return found._replace(turns=tuple(turns))


def read_pruning(record: Fields) -> ContextPruned:
    """Return a ``context_pruned`` record as its event; fields that an older version did not write are 0 or None."""
    cost, saves = record.get("cost_nano"), record.get("saves_nano")
    return ContextPruned(
        number(record, "tokens_before"),
        number(record, "tokens_after"),
        number(record, "messages_cut"),
        number(record, "messages_shortened"),
        "model" if record.get("summary") == "model" else "lines",
        cost if isinstance(cost, int) else None,
        saves if isinstance(saves, int) else None,
        number(record, "turns"),
    )


def _advance_turn(turn: ContextTurn, record: Fields) -> ContextTurn:
    match record.get("event"):
        case "context_pruned":
            return replace(turn, cuts=(*turn.cuts, read_pruning(record)))
        case "context_measured":
            return replace(
                turn,
                messages=number(record, "messages"),
                tokens=number(record, "tokens"),
                limit=number(record, "limit"),
                counted_by=text(record, "counted_by"),
                summaries=(*turn.summaries, *turn.charges),  # requests before the measurement were for summaries
                charges=(),
            )
        case "call_settled":
            usage, nano = mapping(record, "usage"), record.get("cost_nano")
            charge = TurnCharge(
                number(usage, "input_tokens") or None,
                number(usage, "cached_input_tokens"),
                nano if isinstance(nano, int) else None,
            )
            return replace(turn, charges=(*turn.charges, charge))
        case _:
            return turn
