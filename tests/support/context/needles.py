"""Conversations of sixty turns: turn two has a fact that the last step needs, the rest is similar noise."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from agentctl.context.pruning import prune
from agentctl.context.tokens import PLAIN
from agentctl.core.messages import Message, ToolCall

TURNS = 60
Chance = random.Random
Cutter = Callable[[tuple[Message, ...], int], tuple[Message, ...]]


class Kind(NamedTuple):
    """A task, the fact that its last step needs, and what the noise shares with the task."""

    task: str
    fact: str
    needle: Callable[[Chance], str]
    near: tuple[str, ...]
    said_by: str = "tool"


KINDS = {
    "port": Kind(
        "Check load and disk of every host, then log in to the payments database: which port does it have?",
        "payments database listens on port {}",
        lambda chance: str(chance.randint(10_000, 60_000)),
        ("the other database is up", "port scan of the host done", "disk of the database host 40 % used"),
    ),
    "path": Kind(
        "Look through the services one by one and at the end renew the certificate of the billing gateway.",
        "billing gateway: certificate read from {}",
        lambda chance: f"/srv/tls/{chance.randint(100, 999)}/edge.pem",
        ("the gateway answered", "services of the gateway listed", "certificate of the mail server is valid"),
    ),
    "error": Kind(
        "Go through the nightly jobs and report at the end why the backup of the orders failed, with its code.",
        "backup orders: failed with code {}",
        lambda chance: f"E{chance.randint(10_000, 99_999)}",
        ("backup of the mails is done", "error: one of the jobs was slow", "jobs of the night: orders exported"),
    ),
    "token": Kind(
        "Clean up the old images on every node and push the new one to the staging registry when all is done.",
        "staging registry wants the token {}",
        lambda chance: "".join(chance.choices("abcdefghkmnpqrstuvwxyz23456789", k=24)),
        ("old images on the node: none", "registry of the lab is up", "new image pulled by the node"),
    ),
    "decision": Kind(
        "Find out which queue worker leaks memory, watch all of them, then restart it in the way that we decided.",
        "I decided to restart the leaking worker with {} first, because it holds the lock.",
        lambda chance: f"drain-{chance.randint(1_000, 9_999)}",
        ("worker memory is steady", "queue is empty, worker idle", "watch of the memory goes on"),
        "assistant",
    ),
}
NOISE = (
    "cpu load memory free used total process kernel uptime socket mount thread page cache swap inode bytes packets "
    "errors dropped queue latency seconds requests status code user root daemon session started stopped running"
)
_NOISE = tuple(NOISE.split(" "))


class Talk(NamedTuple):
    """A conversation: what stands before the first turn, the turns, and the fact that must still be there."""

    opening: tuple[Message, ...]
    turns: tuple[tuple[Message, ...], ...]
    needle: str


def talk(kind: Kind, seed: int, most_words: int = 240) -> Talk:
    """Make one conversation of ``kind``; a turn has up to ``most_words`` words, in lines of some length."""
    chance = Chance(seed)
    needle = kind.needle(chance)
    fact = kind.fact.format(needle)
    turns = []
    for number in range(1, TURNS + 1):
        lines = [" ".join(chance.choices(_NOISE, k=chance.randint(3, 40))) for _ in range(chance.randint(1, 12))]
        words = 0
        kept = [line for line in lines if (words := words + line.count(" ") + 1) <= most_words] or lines[:1]
        if chance.random() < 0.25:
            kept.insert(chance.randint(0, len(kept)), chance.choice(kind.near))
        if chance.random() < 0.1:
            kept.insert(chance.randint(0, len(kept)), "error: connection reset")
        said = ""
        if number == 2 and kind.said_by == "assistant":
            said = f"The list shows {' '.join(chance.choices(_NOISE, k=30))}. {fact}"
        elif number == 2:
            place = chance.randint(0, len(kept) - 1)
            kept[place] = f"{kept[place]} {fact} {kept[-1]}"
        elif chance.random() < 0.2:
            said = f"I look at the next one, because the {chance.choice(_NOISE)} is fine."
        call = ToolCall(f"c{number}", chance.choice(["system_load", "docker_ps", "run_shell"]), {"n": number})
        turns.append((Message("assistant", said, (call,)), Message("tool", "\n".join(kept), tool_call_id=call.id)))
    return Talk((Message("system", "Be brief."), Message("user", kind.task)), tuple(turns), needle)


def still_there(told: Talk, max_tokens: int, cut: Cutter) -> bool:
    """Return whether the fact is in what is sent after the last turn."""
    messages = told.opening
    for turn in told.turns:
        messages = cut((*messages, *turn), max_tokens)
    return any(told.needle in message.text for message in messages)


def by_relevance(messages: tuple[Message, ...], max_tokens: int) -> tuple[Message, ...]:
    """Cut as a run does by default."""
    return prune(messages, max_tokens=max_tokens, keep_user=3, keep_assistant=3)


def by_age(messages: tuple[Message, ...], max_tokens: int) -> tuple[Message, ...]:
    """Cut as deep, but the oldest turn first and without a digest."""
    if PLAIN.conversation(messages) <= max_tokens:
        return messages
    opening, rest = messages[:2], messages[2:]
    while PLAIN.conversation(opening + rest) > max_tokens // 2 and len(rest) > 6:
        rest = rest[2:]
    return opening + rest


def shares(max_tokens: int, seeds: range, cut: Cutter) -> dict[str, int]:
    """Return in how many conversations of each kind the fact was still there."""
    return {name: sum(still_there(talk(kind, seed), max_tokens, cut) for seed in seeds) for name, kind in KINDS.items()}
