"""Points of time in a question: the clock and the zone of this machine say what they mean."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agentctl.core.errors import TaskFailed
from agentctl.providers.builtin.provider import announce, choose_lookup
from agentctl.tools.docker.responses import parse_since
from tests.unit.providers.builtin.labelled import NOW

pytestmark = pytest.mark.usefixtures("berlin")


def since(words: str, now: datetime = NOW) -> object:
    """Return the ``since`` of a question for logs."""
    match = choose_lookup(f"logs of redis {words}", now)
    assert (match.lookup.tool, match.arguments["name"]) == ("docker_logs", "redis")
    return match.arguments["since"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("since yesterday", "2026-03-28T00:00:00+01:00"),
        ("since today", "2026-03-29T00:00:00+01:00"),
        ("since this morning", "2026-03-29T00:00:00+01:00"),
        ("since midnight", "2026-03-29T00:00:00+01:00"),
        ("since noon", "2026-03-29T12:00:00+02:00"),
        ("since 11:59", "2026-03-29T11:59:00+02:00"),
        ("since 12:01", "2026-03-28T12:01:00+01:00"),
        ("since 11pm", "2026-03-28T23:00:00+01:00"),
        ("since 8 am", "2026-03-29T08:00:00+02:00"),
        ("since yesterday at 8pm", "2026-03-28T20:00:00+01:00"),
        ("since 20:00 yesterday", "2026-03-28T20:00:00+01:00"),
        ("since friday", "2026-03-27T00:00:00+01:00"),
        ("since last friday", "2026-03-27T00:00:00+01:00"),
        ("since sunday", "2026-03-29T00:00:00+01:00"),
        ("since sunday 23:00", "2026-03-22T23:00:00+01:00"),
        ("since 2026-02-28", "2026-02-28T00:00:00+01:00"),
        ("since 2026-02-28 07:30", "2026-02-28T07:30:00+01:00"),
        ("since 2026-02-28T07:30", "2026-02-28T07:30"),
        ("since an hour ago", "1h"),
        ("since 2 hours ago", "2h"),
        ("since half an hour ago", "30m"),
        ("since ten minutes", "10m"),
        ("from the last two weeks", "336h"),
        ("since last week", "168h"),
        ("in the past day", "24h"),
    ],
)
def test_point_of_time_is_read_by_the_clock(words: str, expected: str) -> None:
    assert since(words) == expected
    assert parse_since(expected, NOW) is not None  # the tool reads it too


def test_day_begins_at_this_machines_midnight_and_not_at_that_of_utc() -> None:
    late = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)  # half past midnight of July 2
    assert since("since today", late) == "2026-07-02T00:00:00+02:00"
    assert since("since yesterday", late) == "2026-07-01T00:00:00+02:00"


def test_the_command_line_has_the_same_time() -> None:
    said = announce(choose_lookup("Logs of redis since yesterday", NOW))
    assert said.endswith('same as "docker logs --since 2026-03-28T00:00:00+01:00 --tail 10000 redis".')


def test_number_of_lines_counts_also_since_a_time() -> None:
    match = choose_lookup("last 50 log lines of redis since yesterday", NOW)
    assert match.arguments["tail"] == 50


@pytest.mark.parametrize("words", ["since 25:00", "since 2026-13-01", "since tomorrow", "since 8", "since the flood"])
def test_what_is_no_point_of_time_is_not_guessed(words: str) -> None:
    with pytest.raises(TaskFailed):
        since(words)


def test_command_line_keeps_what_the_tool_must_judge() -> None:
    match = choose_lookup("docker logs --since 2h30m web", NOW)
    assert dict(match.arguments) == {"name": "web", "since": "2h30m", "tail": 10_000}
