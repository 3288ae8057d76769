"""The context for a user: flags, the lines of a run, ``runs show --context``, the help topic."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from agentctl.settings import ENV_NAMES, Settings
from agentctl.settings.names import flag_name
from tests.support.command_line import ROOT, Commands, Ended, Here
from tests.support.docs_pages import CONTEXT_FIELDS

FULL = ("--max-context-tokens", "2500", "--context-warn-percent", "60")
NEAR = re.compile(
    r"context: [67][0-9] % of 2,500 tokens used; beyond that the least relevant parts are cut: "
    r"agentctl help context"
)
CUT = re.compile(r"context: \d+ messages? (cut|shortened)(, \d+ shortened)?, about [\d,]+ tokens to [\d,]+([,;] .*)?")


def filled(here: Here, *flags: str) -> Ended:
    ended = here("run", "look around", *FULL, *flags, script="filling")
    assert ended.code == 0, ended.err
    return ended


def events(ended: Ended, name: str) -> list[dict[str, Any]]:
    return [event for event in ended.lines if event["event"] == name]


def test_each_number_of_the_context_has_a_flag_in_a_panel_of_its_own(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    panel = here("run", "-h").out.split("\nContext:\n")[1].split("\n\n")[0]
    flags = [line.split()[0] for line in panel.splitlines() if "--" in line]
    assert flags == ["--via", "--fallbacks", *(flag_name(name) for name in CONTEXT_FIELDS)]


def test_a_flag_wins_over_the_environment_and_cuts_as_deep_as_it_says(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_CONTEXT_TOKENS", "100000")
    keep = ("--keep-last-n-assistant-messages", "1")
    deep, shallow = (
        events(filled(here, "-o", "jsonl", *keep, "--context-cut-percent", percent), "context_pruned")[0]
        for percent in ("10", "90")
    )
    assert deep["tokens_after"] < shallow["tokens_after"]


@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [
        ("--max-context-tokens", "0", "a whole number, 1 or more"),
        ("--keep-last-n-user-messages", "x", "a whole number, 0 or more"),
        ("--keep-last-n-assistant-messages", "-1", "a whole number, 0 or more"),
        ("--max-result-tokens", "9", 'a whole number, 256 or more, or "none"'),
        ("--context-cut-percent", "100", "a whole number from 10 to 90"),
        ("--context-warn-percent", "0", "a whole number from 1 to 100"),
        ("--summary-tokens", "1", "a whole number from 100 to 4000"),
    ],
)
def test_a_bad_number_ends_with_2_and_says_what_is_allowed(here: Here, flag: str, value: str, allowed: str) -> None:
    ended = here("run", "look around", f"{flag}={value}", script="answer")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f'error: {flag[2:].replace("-", "_")} cannot be "{value}" (flag {flag}); allowed: ')
    assert allowed in ended.err


def test_summaries_are_made_automatically_always_or_never(here: Here) -> None:
    ended = here("run", "look around", "--summaries", "sometimes", script="answer")
    assert (ended.code, ended.out) == (2, "")
    assert "'auto', 'always', 'never'" in ended.err


def test_a_run_near_its_limit_says_so_once_before_anything_is_cut(here: Here) -> None:
    ended = filled(here)
    lines = [line for line in ended.err.splitlines() if line.startswith("context: ")]
    assert NEAR.fullmatch(lines[0])
    assert len(lines) > 2
    assert all(map(CUT.fullmatch, lines[1:])), lines
    assert "context: " not in filled(here, "-q").err


def test_run_that_was_cut_already_gets_no_warning_of_the_limit(here: Here) -> None:
    flags = ("--context-warn-percent", "100")
    assert "are filled" not in filled(here, *flags).err
    told = events(filled(here, "-o", "jsonl", *flags), "context_measured")
    assert not any(event["near"] for event in told)


def test_chart_and_document_agree_with_the_recorded_events(here: Here) -> None:
    ended = filled(here, "-o", "jsonl")
    measured, cut = events(ended, "context_measured"), events(ended, "context_pruned")
    document = here("runs", "show", "--context", "-o", "json").document
    assert document["schema"] == "agentctl.context/1"
    assert "\n| `agentctl.context/1` " in here("help", "formatting").out
    assert (document["status"], document["provider"], document["model"]) == ("done", "scripted", "priced")
    turns = document["turns"]
    assert [turn["tokens"] for turn in turns] == [event["tokens"] for event in measured]
    assert [turn["reported_input_tokens"] for turn in turns] == [*range(1000, 1800, 100), 1000]
    assert [turn["cached_input_tokens"] for turn in turns] == [0, *[500] * 7, 0]
    assert [one["tokens_after"] for turn in turns for one in turn["cuts"]] == [one["tokens_after"] for one in cut]
    assert all(turn["cuts"][-1]["tokens_after"] == turn["tokens"] for turn in turns if turn["cuts"]), "counted alike"
    assert all(one["tokens_before"] > turn["limit"] for turn in turns for one in turn["cuts"]), "why it was cut"
    assert document["totals"]["tokens_saved"] == sum(one["tokens_before"] - one["tokens_after"] for one in cut)
    assert document["totals"]["largest_tokens"] == max(event["tokens"] for event in measured)
    text = here("runs", "show", "--context").out
    for turn in turns:
        assert re.search(rf"^ +{turn['turn']}  +{turn['tokens']:,}  +{turn['reported_input_tokens']:,} ", text, re.M)
    assert f"\n{len(cut)} cuts · " in text
    assert text.count("about 2,") + text.count("about 1,") >= len(cut)
    assert "\x1b" not in text


def test_lines_of_json_are_the_journal_itself_and_no_drawing(here: Here) -> None:
    here("run", "count them", script="answer")
    ended = here("runs", "show", "--context", "-o", "jsonl")
    assert (ended.code, ended.document["error"]["message"]) == (2, "--context does not support -o jsonl")
    assert re.fullmatch(r"agentctl runs show [0-9a-f]+ --context -o json", ended.document["error"]["hint"])


def test_a_run_without_a_model_has_nothing_to_fill(here: Here) -> None:
    here("run", "--provider", "builtin", "How much memory is free?")
    assert here("runs", "show", "--context").out.splitlines()[1:] == [
        "no model was used, so there is no context to show"
    ]
    document = here("runs", "show", "--context", "--json").document
    assert document["totals"]["largest_turn"] is None
    assert document["error"] is None


def test_a_run_that_died_shows_what_it_had_sent(agentctl: Commands, here: Here) -> None:
    with agentctl.start("run", "look around", script="killed") as process:
        assert process.stderr is not None
        while b"turn 2" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    shown = here("runs", "show", "--context").out
    assert "\nthe run has not ended: it is still running, or its process died\n" in shown
    assert re.search(r"^ +2  ", shown, re.M)
    assert here("runs", "show", "--context", "--json").document["status"] is None


@pytest.mark.parametrize("columns", [60, 140])
def test_a_terminal_is_never_overrun_and_filled_with_bars(here: Here, tmp_path: Path, columns: int) -> None:
    filled(here)
    desk, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {**os.environ, **Commands(tmp_path).environ, "PYTHONIOENCODING": "utf-8"}
    argv = Commands(tmp_path).argv(("runs", "show", "--context"), None)
    with subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=terminal, stdin=subprocess.DEVNULL) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                read = os.read(desk, 4096)
            except OSError:  # it has ended
                break
            if not read:
                break
            shown += read
    os.close(desk)
    assert process.returncode == 0
    rows = shown.decode().splitlines()
    assert max(map(len, rows)) <= columns
    assert max(row.count("█") for row in rows) > (10 if columns == 60 else 40)


def test_bars_are_ascii_where_the_encoding_has_no_blocks(agentctl: Commands, here: Here) -> None:
    filled(here)
    ended = agentctl("runs", "show", "--context", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ended.code == 0
    assert ended.out.isascii()
    assert "#####" in ended.out
    assert "\\" not in ended.out


def test_the_topic_names_each_setting_with_its_flag_and_its_default(here: Here) -> None:
    text = here("help", "context").out
    for name in CONTEXT_FIELDS:
        default = getattr(Settings.model_construct(), name)
        said = "an eighth of the context" if default is None else default
        row = rf"^\| `{name}` +\| {said} +\| `{flag_name(name)}` +\| `{ENV_NAMES[name][-1]}` +\|$"
        assert re.search(row, text, re.M), name
    for word in ("exit 7", "num_ctx", "from_line=", "runs show --context", '"run:', "cache"):
        assert word in text, word


def test_both_default_files_and_the_example_have_every_context_setting() -> None:
    own, copy = (ROOT / path for path in ("agentctl/settings/default.toml", "configs/default.toml"))
    assert own.read_bytes() == copy.read_bytes()
    example = (ROOT / ".env.example").read_text()
    for name in CONTEXT_FIELDS:
        assert re.search(rf"^(# )?{name} = ", own.read_text(), re.M), name
        assert re.search(rf"^#?{ENV_NAMES[name][-1]}=", example, re.M), name


def test_a_summary_that_cannot_be_asked_for_is_explained_once_and_costs_no_cut(here: Here) -> None:
    ended = {ways: filled(here, "--max-context-tokens", "1100", "--summaries", ways) for ways in ("always", "never")}
    why = "one needs a context of at least 1,200 tokens"
    told = [line for line in ended["always"].err.splitlines() if "no summary was requested" in line]
    assert told == [f"no summary was requested, and short notes replace the removed messages: {why}"]
    cuts, plain_cuts = ([line for line in one.err.splitlines() if CUT.fullmatch(line)] for one in ended.values())
    assert len(cuts) == len(plain_cuts) > 1
