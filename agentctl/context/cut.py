"""Cut a conversation to a size: remove the least relevant groups, and shorten the middles of the rest. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from agentctl.context.digest import Digest, extend_digest, split_digest
from agentctl.context.kept_names import best_names
from agentctl.context.message_cache import MessageCache, TurnGroup
from agentctl.context.relevance import extract_features, fact_weight, rank_groups, relevances, word_weights
from agentctl.context.tokens import LEAST_LEFT, PLAIN, Measure
from agentctl.core.messages import Message, Role

_DIGEST_SHARE, _DIGEST_MOST = 10, 700  # a tenth of the room, at most 700 tokens
_NAMES_PERCENT = 67  # of the digest, for names: a name takes a few tokens, a line many
_SHARES = (2, 3, 4, 6, 8, 12, 16, 24)  # parts of the room that an older result may have, tried one after the other
_KEPT = 70  # percent of what a cut leaves: the most for what must stay, as far as its older results can shrink
_MOST_SEARCHED = 20  # groups that are searched for names, the newest
_LEAST_GROUP = 8  # tokens: nothing is smaller
_MOST_TOLD = 60  # groups, the most relevant, of which the newest are searched for names
_LEAST_TOLD, _USUAL_LINE = 8, 24  # groups that get a line: at least 8, or one for every 24 tokens of the notes
_LEAST_LINE = 4  # tokens
_MOST_PER_TOKEN = 8  # characters of a line
_WIDEST = 6  # times the usual length of a line, where there is room for it
_SEAM = 2  # tokens that two texts may have more apart than joined
_ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant"}  # the roles that a digest quotes
_SUMMARY_SHARE = 6  # a further sixth of the room, for a model's summary
_MOST_NAMED = 3
_KINDS = {
    "system": "system messages",
    "user": "later user messages",
    "assistant": "assistant messages",
    "tool": "tool results",
}
_LESS = {
    "the task": "shorten the task",
    "system messages": "shorten the system messages",
    "later user messages": "shorten the last messages of the user",
    "assistant messages": "shorten the last messages of the assistant",
    "tool results": "shorten the last tool results",
    "schemas of tools": "offer fewer tools",
    "the schema of the answer": "shorten the schema",
}


class Cut(NamedTuple):
    """The remaining messages, each with its original place, and the tokens of all; they may still be too many."""

    kept: tuple[tuple[int, Message], ...]
    tokens: int


def cut(
    messages: Sequence[Message],
    room: int,
    *,
    keep_user: int,
    keep_assistant: int,
    more: Mapping[int, int] | None = None,
    cut_to_percent: int = 50,
    measure: Measure = PLAIN,
    summary: str = "",
    cache: MessageCache | None = None,
    sizes: Sequence[int] = (),
) -> Cut:
    """Cut ``messages`` to about ``cut_to_percent`` of ``room`` tokens, as far as the messages to keep allow.

    ``more`` are tokens, by place, that a message has besides its own. Messages that no provider accepts are removed
    first. ``cache`` remembers what was computed; ``sizes`` are the tokens of each message, if known.
    """
    cache = MessageCache(0) if cache is None else cache
    draft = _Draft(messages, more or {}, measure, sizes or cache.sizes(messages, measure))
    task = next((place for place, message in enumerate(messages) if message.role == "user"), None)
    before = draft.take_digest(task) if task is not None else Digest()
    spare = min(room // _DIGEST_SHARE, _DIGEST_MOST) if task is not None else 0
    spare += min(room // _SUMMARY_SHARE, measure.text(summary or before.summary) * 5 // 4)  # each line has a mark
    limit = room - spare

    groups, known = cache.features(messages)
    sound = [group for group in groups if group.sound]
    newest = frozenset(sound[-1].places if sound else ())
    broken = [group for group in groups if not group.sound]
    draft.drop(broken)
    if room // 2 >= LEAST_LEFT:
        draft.level(draft.of("tool"), room // 2)

    head = _places_to_keep(messages, sound, 0, 0)
    stay = newest | head | _places_to_keep(messages, sound, keep_user, keep_assistant)
    free = [place for place, group in enumerate(groups) if group.sound and stay.isdisjoint(group.places)]
    features = [known[place] for place in free]
    worth = word_weights(
        features, task=[draft.left[task]] if task is not None else [], latest=_latest(draft.left, newest)
    )
    taken = draft.size(head)  # by what is never cut: where that is much, the goal is a part of the rest
    half = room * cut_to_percent // 100 - spare
    goal = max(half, taken + max(0, limit - taken) * cut_to_percent * 3 // 400)
    gone: list[TurnGroup] = []  # the least relevant first; of equally relevant ones the older
    if draft.tokens > goal:
        order = sorted(range(len(free)), key=relevances(features, worth).__getitem__)
        gone = draft.lower(goal, [groups[free[place]] for place in order], newest, room)

    if draft.tokens > max(room * 3 // 4, goal):  # so that the next cut does not come too soon
        draft.squeeze([place for place in draft.of("tool") if place not in newest], limit)
    if draft.tokens > limit:
        draft.squeeze(draft.of("tool"), limit)
    if draft.tokens > limit:
        both = draft.of("tool", "assistant")
        if draft.least(both) > limit:  # the last resort, before nothing is left of what the assistant said
            draft.squeeze([place for place in draft.of("user") if place != task], limit)
        if draft.tokens > limit:
            draft.squeeze(both, limit)
    if task is not None:
        left = min(spare, room - draft.tokens)
        digest = Digest(before.messages + len(messages) - len(draft.left), (), summary or before.summary)
        if not summary:
            told = sorted((*broken, *gone[-_MOST_TOLD:]))
            said = frozenset(map(id, messages))
            cut_short = [place for place, message in draft.left.items() if id(message) not in said and place != task]
            lost = sorted({*cut_short, *chain.from_iterable([group.places for group in told[-_MOST_SEARCHED:]])})
            names = best_names([messages[place] for place in lost], before.names, draft.left.values(), cache.names)
            best = sorted((*broken, *gone[-max(_LEAST_TOLD, left // _USUAL_LINE) :]))
            groups_told = [[messages[place] for place in group.places] for group in best]
            space = left - measure.text(digest.text(left, measure)) - _SEAM
            named = digest.name(names, space * _NAMES_PERCENT // 100, measure)
            beside = left - measure.text(named.text(left, measure)) - _SEAM
            lines = _widest(before, groups_told, beside, worth, measure)
            if not lines and named.names:  # where only one has room, a line tells more than names
                lines = _widest(before, groups_told, space, worth, measure)
                named = named if not lines else digest
            digest = named._replace(lines=lines)
        draft.append(task, digest.text(left, measure))
        if draft.tokens > room:  # some ways of counting give more for a whole than for its parts
            draft.take_digest(task)
    return Cut(tuple(draft.left.items()), draft.tokens)


def name_the_large(kept: Iterable[tuple[Message, int]], tools_tokens: int, answer_tokens: int = 0) -> tuple[str, str]:
    """Return which messages of a conversation that does not fit take the most tokens, and what would help.

    ``kept`` are its messages, each with its tokens; ``answer_tokens``, included in ``tools_tokens``, are those of the
    answer's schema. What takes less than a tenth is not named.
    """
    totals = Counter({"schemas of tools": tools_tokens - answer_tokens, "the schema of the answer": answer_tokens})
    is_task = True
    for message, tokens in kept:
        name = _KINDS[message.role]
        if is_task and message.role == "user":
            name, is_task = "the task", False
        totals[name] += tokens
    whole = sum(totals.values())
    large = [(name, tokens) for name, tokens in totals.most_common(_MOST_NAMED) if 10 * tokens >= whole]
    return ", ".join(f"{name}: {tokens:,} tokens" for name, tokens in large), _LESS[large[0][0]]


class _Draft:
    """A conversation being cut: its remaining messages, by place, and its tokens."""

    def __init__(
        self, messages: Sequence[Message], more: Mapping[int, int], measure: Measure, sizes: Sequence[int]
    ) -> None:
        self._measure, self._more = measure, more
        self.left = dict(enumerate(messages))
        self._sizes = list(sizes)
        for place, tokens in more.items():
            self._sizes[place] += tokens
        self.tokens = sum(self._sizes)

    def of(self, *roles: str) -> list[int]:
        """Return the places of the messages with these roles."""
        return [place for place, message in self.left.items() if message.role in roles]

    def weights(self, groups: Iterable[TurnGroup]) -> list[int]:
        size = self._sizes.__getitem__
        return [sum(map(size, group.places)) for group in groups]

    def drop(self, groups: Iterable[TurnGroup]) -> None:
        for place in chain.from_iterable([group.places for group in groups]):
            del self.left[place]
            self.tokens -= self._sizes[place]

    def size(self, places: Iterable[int]) -> int:
        return sum(map(self._sizes.__getitem__, places))

    def lower(self, goal: int, loose: Sequence[TurnGroup], newest: Collection[int], room: int) -> list[TurnGroup]:
        """Come to about ``goal`` tokens; return the groups that went of ``loose``, the least relevant first.

        First, results that must stay, except the newest, get an ever smaller share of ``room``, so that something else
        has a place beside them. Then groups stay whole, the most relevant first; one that is too large for what is left
        does not take smaller ones with it.
        """
        movable = frozenset(chain.from_iterable([group.places for group in loose]))
        kept = [place for place in self.of("tool") if place not in newest and place not in movable]
        weights = self.weights(loose)
        sizes = list(map(self._own, kept))
        fixed = self.tokens - sum(weights) - sum(sizes)
        shares = [room // part for part in _SHARES]
        enough = goal * _KEPT // 100
        self._shorten(
            kept, next((one for one in shares if fixed + sum(min(one, size) for size in sizes) <= enough), shares[-1])
        )

        left = goal - (self.tokens - sum(weights))
        stay: set[int] = set()
        for at in range(len(loose) - 1, -1, -1):
            if weights[at] <= left:
                left -= weights[at]
                stay.add(at)
                if left < _LEAST_GROUP:
                    break
        gone = [group for at, group in enumerate(loose) if at not in stay]
        self.drop(gone)
        return gone

    def _own(self, place: int) -> int:
        """Return the tokens of a message without its media, which cannot be cut."""
        return self._sizes[place] - self._more.get(place, 0)

    def append(self, place: int, text: str) -> None:
        if text:
            self._rewrite(place, self.left[place].text + text)

    def take_digest(self, place: int) -> Digest:
        words, digest = split_digest(self.left[place].text)
        self._rewrite(place, words)
        return digest

    def level(self, places: Collection[int], most: int) -> None:
        """Cut every text at ``places`` to ``most`` tokens."""
        for place in places:
            if self._sizes[place] > most:
                self._rewrite(place, self._measure.cut_middle(self.left[place].text, most))

    def least(self, places: Iterable[int]) -> int:
        """Return the tokens of all if every text at ``places`` were cut as far as possible."""
        return self.tokens - sum(max(0, self._measure.text(self.left[place].text) - LEAST_LEFT) for place in places)

    def _shorten(self, places: Iterable[int], most: int) -> None:
        """Cut every text at ``places`` so that its message has about ``most`` tokens, media not counted."""
        for place in places:
            size = self._own(place)
            if size > most >= LEAST_LEFT:
                text = self.left[place].text
                frame = size - self._measure.text(text)
                self._rewrite(place, self._measure.cut_middle(text, max(most - frame, LEAST_LEFT)))

    def squeeze(self, places: Collection[int], limit: int) -> None:
        """Cut the longest texts to one common length, so that they take half of the space that the rest leaves."""
        sizes = sorted(self._measure.text(self.left[place].text) for place in places)
        left = (limit - (self.tokens - sum(sizes))) // 2
        for place, size in enumerate(sizes):
            share = left // (len(sizes) - place)
            if size > share:
                self.level(places, max(share, LEAST_LEFT))
                return
            left -= size

    def _rewrite(self, place: int, text: str) -> None:
        message = self.left[place]
        if text == message.text:
            return
        self.left[place] = replace(message, text=text)
        size = self._measure.message(self.left[place]) + self._more.get(place, 0)
        self.tokens += size - self._sizes[place]
        self._sizes[place] = size


def _places_to_keep(
    messages: Sequence[Message], sound: Sequence[TurnGroup], keep_user: int, keep_assistant: int
) -> set[int]:
    roles = [message.role for message in messages]
    systems = [place for place, role in enumerate(roles) if role == "system"]
    users = [place for place, role in enumerate(roles) if role == "user"]
    assistants = [group.places[0] for group in sound if roles[group.places[0]] == "assistant"]
    last_users = users[max(0, len(users) - keep_user) :]
    return {*systems, *users[:1], *last_users, *assistants[max(0, len(assistants) - keep_assistant) :]}


def _latest(left: Mapping[int, Message], newest: Collection[int]) -> list[Message]:
    users = [message for message in left.values() if message.role == "user"]
    return [*users[-1:], *(left[place] for place in sorted(newest))]


def _widest(
    before: Digest, told: Sequence[Sequence[Message]], room: int, worth: Mapping[str, int], measure: Measure
) -> tuple[str, ...]:
    """Return lines about the groups ``told`` in ``room`` tokens: longer ones if all fit, else the best short ones."""
    lines = extend_digest(before, told, worth).lines
    if sum(map(len, lines)) > _MOST_PER_TOKEN * room:
        return _best(lines, room, worth, measure)
    spent = sum(measure.text(f"\n- {line}") for line in lines)
    widen = min(_WIDEST, room // spent) if spent else 1
    while widen > 1:
        longer = extend_digest(before, told, worth, widen=widen).lines
        if sum(measure.text(f"\n- {line}") for line in longer) <= room:
            return longer
        widen -= 1
    return lines if spent <= room else _best(lines, room, worth, measure)


def _best(lines: Sequence[str], room: int, worth: Mapping[str, int], measure: Measure) -> tuple[str, ...]:
    """Return the most relevant lines that together fit ``room`` tokens, in their original order."""
    said = [Message(_ROLES.get(line.partition(":")[0], "tool"), line) for line in lines]
    kept: list[int] = []
    features = [extract_features([message]) for message in said]
    told = [
        one._replace(weight=one.weight + fact_weight(message.text)) for one, message in zip(features, said, strict=True)
    ]
    for place in rank_groups(told, worth):
        if room < _LEAST_LINE:
            break
        if (size := measure.text(f"\n- {lines[place]}")) <= room:
            room -= size
            kept.append(place)
    return tuple(lines[place] for place in sorted(kept))
