"""Keeps a conversation within its tokens, for whoever holds one: our messages or plain dicts, no run needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict, TypeVar, overload

from agentctl.context import enough_for, estimate_tokens
from agentctl.dialects import Part, read, read_tools, write
from agentctl.errors import ContextOverflow, UsageError
from agentctl.measure import PLAIN, Measure
from agentctl.messages import Message

if TYPE_CHECKING:
    from agentctl.messages import ToolSpec

_NEAR_PERCENT = 80

Said = TypeVar("Said", bound=Message | Mapping[str, Any])
Tools = Iterable["ToolSpec | Mapping[str, Any]"]


class ContextWarning(UserWarning):
    """A conversation fills 80 % of its limit or more: soon its oldest parts are cut."""


class ContextStats(TypedDict):
    """How full a context is; counts of tokens are estimates (UTF-8 bytes by four).

    ``tokens`` are those of the messages and of the tools' schemas, ``limit`` is how many there may be,
    ``usage_percent`` the one by the other (above 100: it must be pruned), ``near_limit`` says that this is 80 or more.
    ``cuts`` counts the prunings so far that had to cut; the last of them took out ``messages_cut`` whole messages and
    made the conversation ``tokens_saved`` tokens smaller.
    """

    messages: int
    tokens: int
    limit: int
    usage_percent: float
    near_limit: bool
    cuts: int
    messages_cut: int
    tokens_saved: int


class ContextManager:
    """Counts a conversation, and cuts it when it does not fit ``max_tokens`` (estimated, tools' schemas included).

    Never cut: system messages, the task (the first user message), the last ``keep_last_n_user_messages``. Never taken
    out, but shortened in the middle where nothing else helps: the last ``keep_last_n_assistant_messages``, each with
    the answers to its tool calls, and whatever came last. The rest goes by relevance, and a few lines behind the task
    tell of it. It takes our ``Message`` and dicts as OpenAI, Anthropic and Ollama take them.

    ``warn`` gets one sentence each time that a conversation comes to 80 % of the limit; without it that is a
    ``ContextWarning`` of Python's ``warnings``. One manager may serve many conversations; its counts of cuts are then
    those of all.

    >>> manager = ContextManager(max_tokens=1000)
    >>> messages = [{"role": "user", "content": "Why is the container called web restarting?"}]
    >>> stats = manager.get_context_stats(messages)
    >>> print(f"Using {stats['usage_percent']:.1f}% of context")
    Using 1.5% of context

    Raises:
        UsageError: ``max_tokens`` is no whole number from 1 on, or one of the others none from 0 on.
    """

    __slots__ = ("_cuts", "_keep_assistant", "_keep_user", "_max_tokens", "_messages_cut", "_near", "_saved", "_warn")

    def __init__(
        self,
        max_tokens: int = 8000,
        keep_last_n_user_messages: int = 3,
        keep_last_n_assistant_messages: int = 3,
        *,
        warn: Callable[[str], object] | None = None,
    ) -> None:
        self._max_tokens = _whole("max_tokens", max_tokens, 1)
        self._keep_user = _whole("keep_last_n_user_messages", keep_last_n_user_messages, 0)
        self._keep_assistant = _whole("keep_last_n_assistant_messages", keep_last_n_assistant_messages, 0)
        if warn is not None and not callable(warn):
            raise UsageError("warn must be a function that takes a sentence", hint="warn=logging.warning")
        self._warn = warn
        self._near = False
        self._cuts = self._messages_cut = self._saved = 0

    @property
    def max_tokens(self) -> int:
        """How many tokens what is sent may have, the tools' schemas included.

        >>> ContextManager().max_tokens
        8000
        """
        return self._max_tokens

    @property
    def keep_last_n_user_messages(self) -> int:
        """How many of the last user messages always stay.

        >>> ContextManager().keep_last_n_user_messages
        3
        """
        return self._keep_user

    @property
    def keep_last_n_assistant_messages(self) -> int:
        """How many of the last assistant messages always stay, with the answers to their tool calls.

        >>> ContextManager().keep_last_n_assistant_messages
        3
        """
        return self._keep_assistant

    def __repr__(self) -> str:
        return (
            f"ContextManager(max_tokens={self._max_tokens}, keep_last_n_user_messages={self._keep_user}, "
            f"keep_last_n_assistant_messages={self._keep_assistant})"
        )

    def estimate_tokens(self, text: str) -> int:
        """Return about how many tokens ``text`` is: its UTF-8 bytes by four, rounded up.

        >>> ContextManager().estimate_tokens("twelve bytes")
        3
        """
        if not isinstance(text, str):
            raise UsageError(f"text must be a string, and is {type(text).__name__}")
        return estimate_tokens(text)

    def fits(self, messages: Iterable[Message | Mapping[str, Any]], tools: Tools = ()) -> bool:
        """Return whether ``messages`` can be sent with ``tools`` as they are.

        >>> ContextManager(max_tokens=10).fits([{"role": "user", "content": "a text of more than forty bytes in all"}])
        False

        Raises:
            UsageError: a message or a tool is none that a provider takes; names its place, counted from 0.
        """
        return _tokens(read(messages), PLAIN) + read_tools(tools) <= self._max_tokens

    def get_context_stats(self, messages: Iterable[Message | Mapping[str, Any]], tools: Tools = ()) -> ContextStats:
        """Return how full the context is with ``messages`` and ``tools``, and what was cut so far.

        >>> manager = ContextManager(max_tokens=100, warn=print)
        >>> manager.get_context_stats([{"role": "user", "content": "x" * 320}])["near_limit"]
        the conversation fills 84 % of its 100 tokens; beyond them its least relevant parts are cut
        True

        Raises:
            UsageError: a message or a tool is none that a provider takes; names its place, counted from 0.
        """
        parts = read(messages)
        tokens = _tokens(parts, PLAIN) + read_tools(tools)
        near = self._look(tokens, self._max_tokens)
        return ContextStats(
            messages=len({part.place for part in parts}),
            tokens=tokens,
            limit=self._max_tokens,
            usage_percent=100 * tokens / self._max_tokens,
            near_limit=near,
            cuts=self._cuts,
            messages_cut=self._messages_cut,
            tokens_saved=self._saved,
        )

    @overload
    def prune(  # type: ignore[overload-overlap] # a tuple is an iterable that comes back as itself
        self,
        messages: tuple[Said, ...],
        tools: Tools = (),
        *,
        max_tokens: int | None = None,
        measure: Measure = PLAIN,
        summary: str = "",
    ) -> tuple[Said, ...]: ...

    @overload
    def prune(
        self,
        messages: Iterable[Said],
        tools: Tools = (),
        *,
        max_tokens: int | None = None,
        measure: Measure = PLAIN,
        summary: str = "",
    ) -> list[Said]: ...

    def prune(
        self,
        messages: Iterable[Said],
        tools: Tools = (),
        *,
        max_tokens: int | None = None,
        measure: Measure = PLAIN,
        summary: str = "",
    ) -> tuple[Said, ...] | list[Said]:
        """Return what of ``messages`` is sent with ``tools``: all if all fits, else what is left at about half.

        Go on with what it returned: then each request begins like the one before, which providers' caches pay for,
        until the next cut. A tuple comes back as a tuple, anything else as a list; what is untouched are the same
        objects, what was shortened are copies. ``max_tokens`` is a lower limit for this once, such as the window of
        the model that is asked; ``measure`` counts for this once. ``summary`` stands behind the task, where something
        is cut, in place of the lines that tell of it.

        >>> asked = {"role": "user", "content": "What is in the log?"}
        >>> said = [{"role": "assistant", "content": f"Line {n}: " + "x" * 400} for n in range(20)]
        >>> fitting = ContextManager(max_tokens=1000).prune([asked, *said])
        >>> len(fitting), fitting[-1] is said[-1]
        (4, True)

        Raises:
            ContextOverflow: what must stay does not fit, even when cut.
            UsageError: a message or a tool is none that a provider takes; names its place, counted from 0.
        """
        given = messages if isinstance(messages, (tuple, list)) else _listed(messages)
        limit = self._max_tokens if max_tokens is None else min(self._max_tokens, _whole("max_tokens", max_tokens, 1))
        parts, schemas = read(given), read_tools(tools, measure)
        before = _tokens(parts, measure)
        after, sent = before, list(given)
        if before + schemas > limit:
            after, sent = self._cut(given, parts, limit - schemas, measure, summary)
            if after + schemas > limit:
                _overflow(after + schemas, limit)
            self._cuts += 1
            self._messages_cut, self._saved = len(given) - len(sent), before - after
        self._look(after + schemas, limit)
        return tuple(sent) if isinstance(given, tuple) else sent

    def _cut(
        self, given: tuple[Said, ...] | list[Said], parts: tuple[Part, ...], room: int, measure: Measure, summary: str
    ) -> tuple[int, list[Said]]:
        from agentctl.pruning import cut  # noqa: PLC0415 - who only counts needs none of it

        found = cut(
            [part.message for part in parts],
            room,
            keep_user=self._keep_user,
            keep_assistant=self._keep_assistant,
            more={place: measure.text(part.more) for place, part in enumerate(parts) if part.more},
            measure=measure,
            summary=summary,
        )
        before: dict[int, list[Part]] = {}
        after: dict[int, list[tuple[Part, Message]]] = {}
        for part in parts:
            before.setdefault(part.place, []).append(part)
        for place, message in found.kept:
            after.setdefault(parts[place].place, []).append((parts[place], message))
        sent: list[Any] = [write(given[place], before[place], left) for place, left in after.items()]
        return found.tokens, sent

    def _look(self, tokens: int, limit: int) -> bool:
        """Return whether ``tokens`` are near the limit, and say so when they have just come there."""
        near = 100 * tokens >= _NEAR_PERCENT * limit
        came, self._near = near and not self._near, near
        if came:
            full = f"the conversation fills {100 * tokens // limit} % of its {limit:,} tokens"
            sentence = f"{full}; beyond them its least relevant parts are cut"
            if self._warn is not None:
                self._warn(sentence)
            else:
                import warnings  # noqa: PLC0415 - who hands in a function needs none

                warnings.warn(sentence, ContextWarning, stacklevel=3)
        return near


def _tokens(parts: Iterable[Part], measure: Measure) -> int:
    return sum(measure.message(part.message) + measure.text(part.more) for part in parts)


def _listed(messages: Iterable[Said]) -> list[Said]:
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        read(messages)
    return list(messages)


def _whole(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(
            f"{name} must be a whole number from {least} on, and is {value!r}", hint=f"{name}={8000 if least else 3}"
        )
    return value


def _overflow(needed: int, limit: int) -> NoReturn:
    raise ContextOverflow(
        f"the conversation needs about {needed:,} tokens even when cut; max_tokens is {limit:,}",
        hint=f"raise it: ContextManager(max_tokens={enough_for(needed)}), or shorten the task",
        billed="no",
    )
