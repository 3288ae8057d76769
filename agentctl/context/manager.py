"""Keep any conversation within a token limit: our messages or plain dicts, without a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, overload

from agentctl.context.formats import MessagePart, ParseCache, read_tools, write_back
from agentctl.context.message_cache import MessageCache
from agentctl.context.pruning import suggest_limit, would_fewer_fit
from agentctl.context.tokens import ROUGH, Measure
from agentctl.core.errors import ContextOverflow, UsageError
from agentctl.core.messages import Message

if TYPE_CHECKING:
    from agentctl.core.messages import ToolSpec

Said = TypeVar("Said", bound=Message | Mapping[str, Any])
Tools = Iterable["ToolSpec | Mapping[str, Any]"]


class ContextWarning(UserWarning):
    """A conversation fills 80 % of its limit or more (or the set percentage); its least relevant parts are cut soon."""


class ContextStats(TypedDict):
    """How full a context is; ``counted_by`` says how tokens were counted.

    ``tokens`` are those of the messages and of the tools' schemas, ``limit`` is the most allowed, ``usage_percent`` is
    their ratio (above 100: it must be pruned), and ``near_limit`` says whether that is at least 80, or the manager's
    ``warn_percent``.
    ``cuts`` counts the prunings so far that had to cut; the last of them removed ``messages_cut`` whole messages and
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
    counted_by: str


class ContextManager:
    """Counts a conversation, and cuts it if it does not fit ``max_tokens`` (estimated, tools' schemas included).

    Never cut: system messages and the task (the first user message). Never removed, but shortened in the middle if
    nothing else helps: the last ``keep_last_n_assistant_messages``, each with the results of its tool calls, whatever
    came last and, as the last resort, the last ``keep_last_n_user_messages``. The rest is removed by relevance, and a
    few lines after the task describe it. Messages are our ``Message`` or dicts in the formats of OpenAI, Anthropic,
    Mistral and Ollama.

    A cut goes down to about ``cut_to_percent`` of the limit. ``warn`` receives one sentence each time that a
    conversation reaches ``warn_percent`` of it; without a function, a ``ContextWarning`` is issued by ``warnings``.
    ``measure`` counts the tokens: by default by the kinds of characters, about right for tool logs and a third too high
    for prose. A manager remembers what it computed, so keep using the same one. It may serve many
    conversations; its counts of cuts then cover all of them.

    >>> manager = ContextManager(max_tokens=1000)
    >>> messages = [{"role": "user", "content": "Why is the container called web restarting?"}]
    >>> stats = manager.get_context_stats(messages)
    >>> print(f"Using {stats['usage_percent']:.1f}% of context")
    Using 1.7% of context

    Raises:
        UsageError: ``max_tokens`` is not a whole number of at least 1, a number of messages not one of at least 0, or a
            percentage not one from 1 to 100.
    """

    __slots__ = (
        "_cache",
        "_cut_to",
        "_cuts",
        "_keep_assistant",
        "_keep_user",
        "_max_tokens",
        "_measure",
        "_messages_cut",
        "_near",
        "_parsed",
        "_saved",
        "_warn",
        "_warn_at",
    )

    def __init__(
        self,
        max_tokens: int = 8000,
        keep_last_n_user_messages: int = 3,
        keep_last_n_assistant_messages: int = 3,
        *,
        cut_to_percent: int = 50,
        warn_percent: int = 80,
        measure: Measure = ROUGH,
        warn: Callable[[str], object] | None = None,
    ) -> None:
        self._max_tokens = _whole("max_tokens", max_tokens, 1, 8000)
        self._keep_user = _whole("keep_last_n_user_messages", keep_last_n_user_messages, 0, 3)
        self._keep_assistant = _whole("keep_last_n_assistant_messages", keep_last_n_assistant_messages, 0, 3)
        self._cut_to = _whole("cut_to_percent", cut_to_percent, 1, 50, most=100)
        self._warn_at = _whole("warn_percent", warn_percent, 1, 80, most=100)
        if not isinstance(measure, Measure):
            raise UsageError(f"measure must be a Measure, not {measure!r}", hint="measure=Measure(count=len)")
        self._measure = measure
        if warn is not None and not callable(warn):
            raise UsageError("warn must be a function that takes a sentence", hint="warn=logging.warning")
        self._warn = warn
        self._parsed, self._cache = ParseCache(), MessageCache()
        self._near = False
        self._cuts = self._messages_cut = self._saved = 0

    @property
    def max_tokens(self) -> int:
        """The most tokens to send, the tools' schemas included.

        >>> ContextManager().max_tokens
        8000
        """
        return self._max_tokens

    @property
    def keep_last_n_user_messages(self) -> int:
        """The number of last user messages that are always kept.

        >>> ContextManager().keep_last_n_user_messages
        3
        """
        return self._keep_user

    @property
    def keep_last_n_assistant_messages(self) -> int:
        """The number of last assistant messages that are always kept, with the results of their tool calls.

        >>> ContextManager().keep_last_n_assistant_messages
        3
        """
        return self._keep_assistant

    @property
    def cut_to_percent(self) -> int:
        """The approximate percentage of the limit that a cut leaves.

        >>> ContextManager().cut_to_percent
        50
        """
        return self._cut_to

    @property
    def measure(self) -> Measure:
        """The way in which tokens are counted.

        >>> ContextManager().measure.way
        'kinds of characters'
        """
        return self._measure

    def __repr__(self) -> str:
        return (
            f"ContextManager(max_tokens={self._max_tokens}, keep_last_n_user_messages={self._keep_user}, "
            f"keep_last_n_assistant_messages={self._keep_assistant})"
        )

    def estimate_tokens(self, text: str) -> int:
        """Estimate the tokens of ``text``: by default by the kinds of its characters.

        >>> ContextManager().estimate_tokens("twelve bytes")
        4
        """
        if not isinstance(text, str):
            raise UsageError(f"text must be a string, not {type(text).__name__}")
        return self._measure.text(text)

    def fits(self, messages: Iterable[Message | Mapping[str, Any]], tools: Tools = ()) -> bool:
        """Return whether ``messages`` can be sent with ``tools`` without a cut.

        >>> ContextManager(max_tokens=10).fits([{"role": "user", "content": "a text of more than forty bytes in all"}])
        False

        Raises:
            UsageError: no provider accepts a message or a tool; the error names its place, counted from 0.
        """
        return self._tokens(self._parsed.read(messages), self._measure) + self._schemas(tools) <= self._max_tokens

    def get_context_stats(self, messages: Iterable[Message | Mapping[str, Any]], tools: Tools = ()) -> ContextStats:
        """Return how full the context is with ``messages`` and ``tools``, and how much was cut so far.

        >>> manager = ContextManager(max_tokens=100, warn=print)
        >>> manager.get_context_stats([{"role": "user", "content": "x" * 320}])["near_limit"]
        the conversation fills 94 % of its limit of 100 tokens; above that its least relevant parts are cut
        True

        Raises:
            UsageError: no provider accepts a message or a tool; the error names its place, counted from 0.
        """
        parts = self._parsed.read(messages)
        tokens = self._tokens(parts, self._measure) + self._schemas(tools)
        self._prepare_cut(parts, tokens)
        near = self._warn_if_near(tokens, self._max_tokens)
        return ContextStats(
            messages=len({one.place for part in parts for one in part.items or (part,)}),
            tokens=tokens,
            limit=self._max_tokens,
            usage_percent=100 * tokens / self._max_tokens,
            near_limit=near,
            cuts=self._cuts,
            messages_cut=self._messages_cut,
            tokens_saved=self._saved,
            counted_by=self._measure.way,
        )

    @overload
    def prune(  # type: ignore[overload-overlap] # a tuple is an iterable that comes back as itself
        self,
        messages: tuple[Said, ...],
        tools: Tools = (),
        *,
        max_tokens: int | None = None,
        measure: Measure | None = None,
        summary: str = "",
    ) -> tuple[Said, ...]: ...

    @overload
    def prune(
        self,
        messages: Iterable[Said],
        tools: Tools = (),
        *,
        max_tokens: int | None = None,
        measure: Measure | None = None,
        summary: str = "",
    ) -> list[Said]: ...

    def prune(
        self,
        messages: Iterable[Said],
        tools: Tools = (),
        *,
        max_tokens: int | None = None,
        measure: Measure | None = None,
        summary: str = "",
    ) -> tuple[Said, ...] | list[Said]:
        """Return the messages to send with ``tools``: all if they fit, else a selection of about half the limit.

        Continue with the returned messages: until the next cut each request then begins with the previous one, which
        prompt caches reward. A tuple comes back as a tuple, anything else as a list; unchanged messages are the same
        objects, shortened ones are copies. ``max_tokens`` is a lower limit for this call, such as the window of the
        model, and ``measure`` replaces the manager's. If something is cut, ``summary`` is put after the task instead of
        the lines that describe it.

        >>> asked = {"role": "user", "content": "What is in the log?"}
        >>> said = [{"role": "assistant", "content": f"Line {n}: " + "x" * 400} for n in range(20)]
        >>> fitting = ContextManager(max_tokens=1000).prune([asked, *said])
        >>> len(fitting), fitting[-1] is said[-1]
        (4, True)

        Raises:
            ContextOverflow: the messages to keep do not fit, even when shortened.
            UsageError: no provider accepts a message or a tool; the error names its place, counted from 0.
        """
        given = messages if isinstance(messages, (tuple, list)) else _as_list(messages)
        limit = self._max_tokens
        if max_tokens is not None:
            limit = min(limit, _whole("max_tokens", max_tokens, 1, 8000))
        measure = self._measure if measure is None else measure
        parts, schemas = self._parsed.read(given), read_tools(tools, measure)
        before = self._tokens(parts, measure)
        after, sent = before, list(given)
        if before + schemas > limit:
            after, sent = self._cut(given, parts, limit, schemas, measure, summary)
            self._cuts += 1
            self._messages_cut, self._saved = len(given) - len(sent), before - after
        else:
            self._prepare_cut(parts, before + schemas)
        self._warn_if_near(after + schemas, limit)
        return tuple(sent) if isinstance(given, tuple) else sent

    def _cut(
        self,
        given: tuple[Said, ...] | list[Said],
        parts: tuple[MessagePart, ...],
        limit: int,
        schemas: int,
        measure: Measure,
        summary: str,
    ) -> tuple[int, list[Said]]:
        from agentctl.context.cut import cut, name_the_large  # noqa: PLC0415 - counting alone does not need it

        found = cut(
            [part.message for part in parts],
            limit - schemas,
            keep_user=self._keep_user,
            keep_assistant=self._keep_assistant,
            cut_to_percent=self._cut_to,
            more={place: part.media * measure.image for place, part in enumerate(parts) if part.media},
            measure=measure,
            summary=summary,
            cache=self._cache,
        )
        if (needed := found.tokens + schemas) > limit:
            fewer = would_fewer_fit(found.kept, limit - schemas, max(self._keep_user, self._keep_assistant), measure)
            sized = [(one, measure.message(one) + parts[place].media * measure.image) for place, one in found.kept]
            raise _overflow(needed, limit, *name_the_large(sized, schemas), fewer=fewer)
        after: dict[int, list[tuple[MessagePart, Message]]] = {}
        for place, message in found.kept:
            for part, said in parts[place].split(message):
                after.setdefault(part.place, []).append((part, said))
        before: dict[int, list[MessagePart]] = {place: [] for place in after}
        for part in parts:
            for one in part.items or (part,):
                if one.place in before:
                    before[one.place].append(one)
        sent: list[Any] = [write_back(given[place], before[place], left) for place, left in after.items()]
        self._cache.retain([part.message for part in parts], [message for _, message in found.kept])
        self._parsed.retain(given, sent)  # a caller may go on with either
        return found.tokens, sent

    def _tokens(self, parts: Sequence[MessagePart], measure: Measure) -> int:
        tokens = sum(self._cache.sizes([part.message for part in parts], measure))
        return tokens + measure.image * sum([part.media for part in parts])

    def _prepare_cut(self, parts: Sequence[MessagePart], tokens: int) -> None:
        """Read a conversation that is half full ahead of its next cut, so that the cut takes less time."""
        if 2 * tokens > self._max_tokens:
            self._cache.prepare([part.message for part in parts])

    def _schemas(self, tools: Tools) -> int:
        return read_tools(tools, self._measure)

    def _warn_if_near(self, tokens: int, limit: int) -> bool:
        """Return whether ``tokens`` are near the limit, and warn when they have just reached it."""
        near = 100 * tokens >= self._warn_at * limit
        came, self._near = near and not self._near, near
        if came:
            full = f"the conversation fills {100 * tokens // limit} % of its limit of {limit:,} tokens"
            sentence = f"{full}; above that its least relevant parts are cut"
            if self._warn is not None:
                self._warn(sentence)
            else:
                import warnings  # noqa: PLC0415 - not needed with a function

                warnings.warn(sentence, ContextWarning, stacklevel=3)
        return near


def _as_list(messages: Iterable[Said]) -> list[Said]:
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        ParseCache().read(messages)
    return list(messages)


def _whole(name: str, value: object, least: int, usual: int, *, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most and value > most):
        reach = f"from {least} to {most}" if most else f"of at least {least}"
        raise UsageError(f"{name} must be a whole number {reach}, not {value!r}", hint=f"{name}={usual}")
    return value


def _overflow(needed: int, limit: int, large: str, less: str, *, fewer: bool) -> ContextOverflow:
    less = "lower keep_last_n_user_messages and keep_last_n_assistant_messages" if fewer else less
    return ContextOverflow(
        f"the conversation needs about {needed:,} tokens even when cut; max_tokens is {limit:,} ({large})",
        hint=f"raise it: ContextManager(max_tokens={suggest_limit(needed)}), or {less}",
        billed="no",
        prompt=needed,
    )
