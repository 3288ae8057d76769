"""What an agent's next turn needs from earlier ones, and whether it is still in what is sent; input cost and validity.

A *fact* is an identifier, a path or a number of the next real turn that stands in an earlier message, system message
and task left out, as these are always sent. It is *held* if it stands verbatim in what is sent. Counted are the turns
whose whole history does not fit the limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

from agentctl.context.manager import ContextManager
from agentctl.context.message_cache import group_turns
from agentctl.context.tokens import ROUGH
from agentctl.core.errors import ContextOverflow
from agentctl.core.messages import Message
from tests.support.replay.trajectories import Log

Said = tuple[Message, ...]
Way = Callable[[int], Callable[[Said, Said], Said]]
"""For a limit, returns a function of what was sent and what was added since, to what is sent now."""

_FACT = re.compile(
    r"(?:[~.]{0,2}/)?[\w@-]+(?:[./:#-]+[\w@-]+)+/?"  # paths, dotted names, dates, addresses
    r"|[A-Za-z]\w*_\w+|_\w+|[a-z]+[A-Z]\w*|[A-Z]+[a-z]+[A-Z]\w*"  # identifiers
    r"|(?=[A-Za-z0-9]*\d)(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{4,}"  # ids
    r"|\d[\d,]*\d(?:\.\d+)?"  # numbers of two digits or more
)
_CACHE = (0.5, 0.1)


class Score(NamedTuple):
    """The result of a replay; costs are input tokens at full price, at each cache price of ``_CACHE``."""

    turns: int = 0
    facts: int = 0
    held: int = 0
    breaks: int = 0
    cost_half: float = 0
    cost_tenth: float = 0
    invalid: int = 0
    over: int = 0
    lost: int = 0
    failed: int = 0

    def plus(self, other: Score) -> Score:
        """Return the sum of both, field by field."""
        return Score._make(one + more for one, more in zip(self, other, strict=True))


def facts_of(text: str) -> frozenset[str]:
    """Return the identifiers, paths and numbers of ``text``."""
    return frozenset(found.rstrip("/.:") for found in _FACT.findall(text))


def all_text(message: Message) -> str:
    """Return the words of a message, its calls included."""
    calls = " ".join(" ".join((call.name, *map(str, _flat(call.arguments)))) for call in message.tool_calls)
    return f"{message.text}\n{calls}"


def _flat(value: object) -> list[object]:
    if isinstance(value, dict):
        return [part for key, one in value.items() for part in (key, *_flat(one))]
    return [part for one in value for part in _flat(one)] if isinstance(value, list) else [value]


def score(log: Log, way: Way, limit: int) -> Score:
    """Replay every turn of ``log`` by ``way``."""
    fit = way(limit)
    total = Score()
    sent: Said = ()
    before: Said = ()
    start = 0
    for place, answer in enumerate(log.messages):
        if answer.role != "assistant" or not any(one.role == "user" for one in log.messages[:place]):
            continue
        history, added = log.messages[:place], log.messages[start:place]
        start = place
        full = ROUGH.conversation(history) > limit
        try:
            now = fit(sent, added)
        except ContextOverflow:
            total = total.plus(Score(turns=full, failed=1))
            sent = (*sent, *added)
            continue
        total = total.plus(_turn(history, before, now, answer, limit, full=full))
        sent = before = now
    return total


def _turn(history: Said, before: Said, now: Said, answer: Message, limit: int, *, full: bool) -> Score:
    head = [one for one in history if one.role == "system"]
    task = next(one for one in history if one.role == "user")
    given = "\n".join(map(all_text, (*head, task)))
    earlier = "\n".join(all_text(one) for one in history if one is not task and one.role != "system")
    known, is_given = facts_of(earlier), facts_of(given)
    needed = {fact for fact in facts_of(all_text(answer)) & known if fact not in is_given} if full else set()
    there = facts_of("\n".join(map(all_text, now)))
    same = next((at for at, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))
    cached, size = ROUGH.conversation(now[:same]), ROUGH.conversation(now)
    half, tenth = (size - cached + cached * price for price in _CACHE)
    return Score(
        turns=full,
        facts=len(needed),
        held=len(needed & there),
        breaks=same < len(before),
        cost_half=half,
        cost_tenth=tenth,
        invalid=not is_valid(now),
        over=size > limit,
        lost=not any(one.role == "user" and one.text.startswith(task.text) for one in now),
    )


def is_valid(messages: Sequence[Message]) -> bool:
    """Return whether a provider accepts the order: calls with their results, and a user's message first."""
    groups = group_turns(messages)
    first = next((one.role for one in messages if one.role != "system"), None)
    return first == "user" and all(group.sound for group in groups)


def score_all(logs: Sequence[Log], way: Way, limit: int) -> Score:
    """Return the sum of the scores of all logs."""
    return reduce(Score.plus, (score(log, way, limit) for log in logs), Score())


def ours(limit: int, **settings: int) -> Callable[[Said, Said], Said]:
    """Continue with what ``ContextManager.prune`` returned."""
    manager = ContextManager(limit, measure=ROUGH, warn=lambda _: None, **settings)
    return lambda sent, added: manager.prune((*sent, *added))


def full_window(limit: int) -> Callable[[Said, Said], Said]:
    """Send the system messages and the newest messages that fit, each turn anew."""
    history: list[Message] = []

    def fit(sent: Said, added: Said) -> Said:
        history.extend(added)
        return _newest(tuple(history), limit)

    return fit


def newest_half(limit: int) -> Callable[[Said, Said], Said]:
    """Send everything until it does not fit, then the newest that fit half of the limit."""

    def fit(sent: Said, added: Said) -> Said:
        now = (*sent, *added)
        return now if ROUGH.conversation(now) <= limit else _newest(now, limit // 2)

    return fit


def _newest(messages: Said, room: int) -> Said:
    """Return the system messages, the task, and the newest groups that fit ``room``."""
    task = next((one for one in messages if one.role == "user"), None)
    head = tuple(one for one in messages if one.role == "system" or one is task)
    left = room - ROUGH.conversation(head)
    kept: list[Message] = []
    for group in reversed([one for one in group_turns(messages) if one.sound]):
        said = [messages[place] for place in group.places]
        if any(any(one is first for first in head) for one in said):
            continue
        if (left := left - ROUGH.conversation(said)) < 0 and kept:
            break
        kept[:0] = said
    return (*head, *kept)
