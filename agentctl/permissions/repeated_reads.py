"""Recognize a read that is made again while the model still has its result. Pure.

A read is repeated if its arguments are the same with the defaults filled in, its first result still stands whole in the
conversation, and nothing that can change anything was executed in between. The stored result answers it then. A value
that moves is looked up anew and is a repeat only if the result is the same to the byte; so is every value once the run
has changed something, as that may still be settling (a container that starts).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from agentctl.core.messages import Message, ToolCall
from agentctl.permissions.guards import LoopLimits, arguments_text, call_key, only_reads
from agentctl.protocols import TargetAware, Tool

#: The tools whose value moves by itself, and the shell, which may do anything.
MOVING = frozenset(("docker_logs", "docker_stats", "system_load", "system_processes", "run_shell"))
#: Follows the result of a repeated call, for the model.
AT_HAND = (
    "[agentctl: this call was made before, and this is the same result as above. If it answers the task, write the "
    "answer now, in plain text.]"
)


class _Seen(NamedTuple):
    """The result of a read, the messages that hold it, and how often it was repeated; ``changes`` were made before."""

    result: str
    messages: tuple[Message, ...]
    changes: int
    repeats: int = 0


class _Look(NamedTuple):
    """A call of this turn; ``seen`` is its earlier result if the model still has it."""

    key: str
    seen: _Seen | None
    changes: int


class ReadHistory:
    """The results of one run's reads.

    ``repeats`` of one read are too many. A user who raised ``identical_calls`` wants calls to be made again: then
    every value is looked up anew.
    """

    def __init__(self, identical_calls: int) -> None:
        self.most = max(2, identical_calls - 1)
        self._looks_anew = identical_calls > LoopLimits().identical_calls
        self._seen: dict[str, _Seen] = {}
        self._keys: dict[str, str] = {}
        self._looks: dict[str, _Look] = {}
        self._overdue = ""
        self._changes = 0
        self._messages: Sequence[Message] = ()

    def begin_turn(self, calls: Sequence[ToolCall], messages: Sequence[Message]) -> Mapping[str, bool]:
        """Take the conversation that the model was sent; return which calls (by id) ask for what stands in it.

        True: the stored result will answer; False: the value moves, and may have changed.
        """
        self._messages, self._looks, self._overdue = messages, {}, ""
        at_hand: dict[str, bool] = {}
        for call in calls:
            seen, moves = self._standing(self._keys.get(call_key(call), "")), self._moves(call.name)
            if seen is None or (moves and not seen.repeats):
                continue
            at_hand[call.id] = not moves
            if seen.repeats + 1 >= self.most and not moves:
                self._overdue = call.name
        return at_hand

    @property
    def overdue(self) -> str:
        """The name of a call of this turn whose stored result has been given often enough, "" if there is none."""
        return self._overdue

    def look_up(self, asked: ToolCall, call: ToolCall, tool: Tool) -> str | None:
        """Return the stored result of ``call``, which is ``asked`` with its arguments resolved; None: execute it."""
        is_change = not only_reads(tool)
        key = read_key(call, tool)
        seen, moves = self._standing(key), self._moves(call.name)
        self._changes += is_change
        if is_change and call.name not in MOVING:
            return None
        self._keys[call_key(asked)] = key
        self._looks[call.id] = _Look(key, seen, self._changes)
        return None if seen is None or moves or is_change else seen.result

    def forget(self, call_id: str) -> None:
        """Forget a call of this turn whose result was cut: it does not stand whole anywhere."""
        if (look := self._looks.pop(call_id, None)) is not None:
            self._seen.pop(look.key, None)

    def repeats_of(self, call_id: str, result: object) -> int:
        """Return how often the call's result has been repeated now; 0: it is no repeat."""
        look = self._looks.get(call_id)
        return look.seen.repeats + 1 if look and look.seen and look.seen.result == result else 0

    def too_often(self, calls: Sequence[ToolCall], times: Sequence[int], refused: Container[str]) -> str:
        """Return the name of a call of a turn that only repeated, too often, what it has; "" if there is none.

        ``times`` is how often each call was a repeat, ``refused`` the ids of those that were not run for it.
        """
        most = max(times)
        if most < self.most or not all(n or call.id in refused for n, call in zip(times, calls, strict=True)):
            return ""
        return calls[times.index(most)].name

    def mark(self, text: str) -> str:
        """Return a repeated result with the line that tells the model to answer."""
        return f"{text}\n\n{AT_HAND}"

    def record(self, call_id: str, result: object, message: Message) -> None:
        """Record the result of a call of this turn, and the message that holds it; a failure is not kept."""
        if (look := self._looks.get(call_id)) is None:
            return
        if not isinstance(result, str):
            self._seen.pop(look.key, None)
            return
        repeats = self.repeats_of(call_id, result)
        earlier = look.seen.messages if repeats and look.seen else ()
        self._seen[look.key] = _Seen(str(result), (*earlier, message), look.changes, repeats)

    def _moves(self, name: str) -> bool:
        return name in MOVING or self._changes > 0 or self._looks_anew

    def _standing(self, key: str) -> _Seen | None:
        """Return a result that nothing executed since can have changed and that the model still has, whole."""
        seen = self._seen.get(key)
        if seen is None or seen.changes != self._changes:
            return None
        has_it = any(message is one for message in self._messages for one in seen.messages)
        return seen if has_it else None


def read_key(call: ToolCall, tool: Tool) -> str:
    """Return the text that all spellings of a resolved call share: its name and arguments, with the defaults."""
    given = call.arguments
    if isinstance(tool, TargetAware):
        given = tool.subject(given).arguments
    elif isinstance(properties := tool.spec.parameters.get("properties"), Mapping):
        entries = ((name, entry) for name, entry in properties.items() if isinstance(entry, Mapping))
        given = {**{name: entry["default"] for name, entry in entries if "default" in entry}, **given}
    return f"{call.name} {arguments_text({name: value for name, value in given.items() if value is not None})}"
