"""What agents' next turns find in a cut context: ``python tests/benchmarks/trajectories.py [FOLDER] [LIMIT...]``.

FOLDER holds logs of agents: SWE-agent (.traj), mini-swe-agent (.traj.json), OpenHands (events), tau-bench (results), or
runs of agentctl (.jsonl). Without one, the few that are shipped are read. Each assistant turn is replayed at each LIMIT
(4000 and 8000) under ours, a full window, the newest down to half, and ``trim_messages`` of litellm and of
langchain-core, if that is installed (``pip install --target DIR langchain-core``, then PYTHONPATH=DIR).

*facts held*: of the identifiers, paths and numbers of the next real turn that stand in an earlier message (not the
system message, not the task), how many stand verbatim in what is sent; counted at turns whose history does not fit.
*breaks*: requests that do not begin with the one before. *cost*: input tokens at full price, with cached ones at 50 %
and at 10 %. *invalid*: no provider accepts the request. *lost*: the task is not in it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agentctl.context.tokens import ROUGH  # noqa: E402 - the tests are no package of the path
from agentctl.core.messages import Message  # noqa: E402
from tests.support.replay.keeping import Said, Way, full_window, newest_half, ours, score_all  # noqa: E402
from tests.support.replay.trajectories import Log, read_chat, read_logs  # noqa: E402

SHIPPED = ROOT / "tests" / "support" / "replay" / "logs"
Chat = list[dict[str, Any]]


def as_chat(messages: Said) -> Chat:
    """Return messages in OpenAI's format."""
    chat: Chat = []
    for one in messages:
        said: dict[str, Any] = {"role": one.role, "content": one.text}
        if one.tool_calls:
            said["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in one.tool_calls
            ]
        if one.tool_call_id:
            said["tool_call_id"] = one.tool_call_id
        chat.append(said)
    return chat


def by_trimming(trim: Callable[[Chat, int], Chat]) -> Way:
    """Trim the whole history anew at each turn, as these functions are meant to be used."""

    def way(limit: int) -> Callable[[Said, Said], Said]:
        history: list[Message] = []

        def fit(sent: Said, added: Said) -> Said:
            history.extend(added)
            said = tuple(history)
            return said if ROUGH.conversation(said) <= limit else read_chat(trim(as_chat(said), limit))

        return fit

    return way


def of_litellm(chat: Chat, limit: int) -> Chat:
    """Trim by litellm, at a limit in its own tokens that is as far from the whole as ours is."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it asks the network otherwise
    from litellm import token_counter
    from litellm.utils import trim_messages

    whole = token_counter(model="gpt-4o", messages=chat)
    share = limit / ROUGH.conversation(read_chat(chat))
    trimmed: Any = trim_messages(chat, model="gpt-4o", max_tokens=int(whole * share), trim_ratio=1)
    return list(trimmed)


def of_langchain(chat: Chat, limit: int) -> Chat:
    """Trim by langchain-core, with the arguments that its documentation gives for a valid history."""
    langchain = importlib.import_module("langchain_core.messages")

    def count(messages: object) -> int:
        return ROUGH.conversation(read_chat(langchain.convert_to_openai_messages(messages)))

    kept = langchain.trim_messages(
        langchain.convert_to_messages(chat),
        max_tokens=limit,
        token_counter=count,
        strategy="last",
        start_on="human",
        end_on=("human", "tool"),
        include_system=True,
    )
    return list(langchain.convert_to_openai_messages(kept))


def ways() -> dict[str, Way]:
    """Return the ways to compare; a library that is not installed is left out, with a word."""
    found: dict[str, Way] = {"ours": ours, "full window": full_window, "newest to half": newest_half}
    found["litellm"] = by_trimming(of_litellm)
    if importlib.util.find_spec("langchain_core") is None:
        print(
            "langchain-core is left out: pip install --target DIR langchain-core, then PYTHONPATH=DIR", file=sys.stderr
        )
    else:
        found["langchain-core"] = by_trimming(of_langchain)
    return found


def is_dialogue(log: Log) -> bool:
    """Whether a user speaks again and again."""
    return log.format == "tau-bench"


def main(words: list[str]) -> int:
    """Print a table for each limit; return 1 if there is nothing to read."""
    folder = Path(words.pop(0)) if words and not words[0].isdecimal() else SHIPPED
    logs, unread = read_logs(folder)
    for sentence in unread:
        print(sentence, file=sys.stderr)
    if not logs:
        print(f"no logs in {folder}", file=sys.stderr)
        return 1
    for log in logs:
        print(f"{log.name} ({log.format}): {len(log.messages)} messages, {ROUGH.conversation(log.messages):,} tokens")
    print("\n| limit, logs | way | facts held | breaks | cost at 50 % | at 10 % | invalid | over | lost | refused |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for limit in map(int, words or ("4000", "8000")):
        for kind, some in (
            ("coding", [log for log in logs if not is_dialogue(log)]),
            ("dialogue", [log for log in logs if is_dialogue(log)]),
        ):
            for name, way in ways().items() if some else ():
                began = time.perf_counter()
                total = score_all(some, way, limit)
                held = f"{100 * total.held / total.facts:.0f} % of {total.facts}" if total.facts else "all fit"
                print(
                    f"| {limit:,}, {kind} | {name} | {held} | {total.breaks} | {total.cost_half:,.0f} |"
                    f" {total.cost_tenth:,.0f} | {total.invalid} | {total.over} | {total.lost} | {total.failed} |"
                )
                print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
