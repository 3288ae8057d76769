"""A run as Markdown, for the summary of a step of GitHub's: every text of the run stands in a fence or a code span.

So it can close nothing, load no picture and pose as no status: rendered Markdown of a model could send what it has
read to an address, as the query of a picture.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator

from agentctl.cli.ci.run_end import RunEnd
from agentctl.cli.runs.export.markdown_page import code_span, fence
from agentctl.cli.ui.format import plural

MOST_BYTES = 64_000  # of one run
STEP_BYTES = 1024 * 1024  # of all that a step writes: GitHub refuses more, and then shows none of it
_MOST_MESSAGE, _MOST_STEPS, _MOST_TABLE = 2000, 2000, 8000  # bytes
_MOST_NAMES, _MOST_NAME = 30, 80


def summary_block(end: RunEnd, *, size: int) -> bytes:
    """Return what a run adds to the summary of its step, which has ``size`` bytes: shorter, where there is less room.

    Raises:
        OSError: there is none.
    """
    short = "\n".join([*_head(end), "The summary of the step has no room for more of this run.\n"])
    for text in (run_summary(end), short):
        block = f"\n{text}".encode()
        if size + len(block) <= STEP_BYTES:
            return block
    raise OSError(errno.EFBIG, "it is full")


def run_summary(end: RunEnd) -> str:
    """Return the summary of a run, at most 64 kB; what is long is cut, the answer last."""
    answer_bytes = MOST_BYTES
    while answer_bytes:
        text = "\n".join(_lines(end, answer_bytes))
        excess = len(text.encode()) - MOST_BYTES
        if excess <= 0:
            return text
        # a fence is longer than any run of backticks inside: no sum tells what fits
        answer_bytes = max(answer_bytes - excess, answer_bytes // 2)
    return "\n".join(_head(end))


def _head(end: RunEnd) -> Iterator[str]:
    code = "" if end.is_done else f" (exit {end.status.value})"
    yield f"### agentctl: {end.shown}{code}\n"
    about = [code_span(" · ".join(end.figures))] if end.figures else []
    about += [f"agent {code_span(_short(end.agent))}"] if end.agent else []
    about += [code_span(_short(end.model))] if end.model else []
    if about:
        yield f"{' · '.join(about)}\n"


def _lines(end: RunEnd, answer_bytes: int) -> Iterator[str]:
    yield from _head(end)
    if end.message:
        yield fence(_cut(end.message, _MOST_MESSAGE))
    if end.steps:
        yield f"What to do:\n\n{fence(_cut(chr(10).join(end.steps), _MOST_STEPS))}"
    if end.remarks:
        yield f"Worth a look:\n\n{fence(_cut(chr(10).join(end.remarks), _MOST_STEPS))}"
    if end.limits:
        yield "| limit | ceiling | used |\n|---|--:|--:|"
        yield "".join(f"| {row.name} | {row.ceiling} | {row.used} |\n" for row in end.limits)
    if end.tools:
        yield f"tools: {_names(_tool(*tool) for tool in end.tools)}\n"
    if end.denied:
        yield f"denied: {_names(end.denied)}\n"
    if end.answer:
        yield f"{'Answer' if end.is_done else 'Answer so far'}:\n\n{fence(_cut(end.answer, answer_bytes, end.run_id))}"
    if end.table:
        table = fence(_cut(end.table, _MOST_TABLE))
        yield f"<details><summary>Calls, limits and tools</summary>\n\n{table}\n</details>\n"


def _tool(name: str, calls: int, failed: int) -> str:
    return f"{name}: {plural(calls, 'call')}{f', {failed:,} failed' if failed else ''}"


def _names(names: Iterable[str]) -> str:
    """Return a list of names, a long one cut."""
    known = list(names)
    more = f" and {len(known) - _MOST_NAMES:,} more" if len(known) > _MOST_NAMES else ""
    return ", ".join(code_span(_short(name)) for name in known[:_MOST_NAMES]) + more


def _short(name: str) -> str:
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


def _cut(text: str, most: int, run_id: str = "") -> str:
    """Return the beginning of a text, of at most ``most`` bytes, and a note where that is not all."""
    data = text.encode()
    if len(data) <= most:
        return text
    whole = f": agentctl runs show {run_id}" if run_id else ""
    return data[:most].decode("utf-8", "ignore") + f"\n[cut, {len(data):,} bytes in all{whole}]"
