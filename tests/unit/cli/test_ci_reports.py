"""Hostile text in a CI system's log and reports, read as the system does; summaries, sections, JUnit, dotenv."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from agentctl.cli.ci.junit import junit_report
from agentctl.cli.ci.log_commands import without_headings
from agentctl.cli.ci.run_end import RunEnd
from agentctl.cli.ci.step_summary import MOST_BYTES, STEP_BYTES, run_summary
from agentctl.cli.exit_codes import ExitStatus
from agentctl.core.errors import AuthFailed
from agentctl.core.messages import Completion, ToolCall
from agentctl.core.results import ToolCount
from agentctl.core.text import safe_text
from tests.support.ci_step import Step, annotated
from tests.support.command_line import Ended
from tests.support.github_runner import azure_commands_of, commands_of, read_file_command
from tests.support.junit_schema import read_junit
from tests.support.scripted_cli import USED, answer, hang

#: Each of these would do something in the log of a CI system, in Markdown, in XML or in a file of variables.
HOSTILE = "\n".join(
    (
        "owned",
        "::error::owned",
        " \t\u3000::set-output name=status::owned",
        "::add-mask::o",
        "::stop-commands::owned",
        "::warning file=owned,line=1,title=a%0A::error::owned",
        "::GROUP::owned",
        "a\r::error::owned\r\n::endgroup::",
        "\x0b::error::owned\x85::error::owned\u2028::error::owned",
        "x ##[error]owned ##[set-env name=PATH;]/owned ###[group]owned",
        "##vso[task.complete result=Succeeded]owned ##VSO[task.setvariable variable=owned]1",
        "##teamcity[buildStop comment='owned']",
        "--- owned",
        "+++ owned",
        "~~~ owned",
        "^^^ +++",
        "\x1b[31m--- owned",
        "section_start:1:owned[collapsed=true]\r\x1b[0Kowned",
        "section_end:1:owned\r\x1b[0K",
        "`````owned\n```\n~~~~\n</details></summary><details open><img src=https://owned.example/x>",
        "![owned](https://owned.example/?q=1) <script>owned</script> | owned | [x](javascript:owned) @owned",
        "]]> &owned; <!-- owned \ufffe \uffff \x00 \x07",
        "status<<EOF\nowned\nEOF\nstatus=owned\nAGENT_STATUS=owned",
        "$CI_JOB_TOKEN ${CI_JOB_TOKEN} %owned% %0A%25",
    )
)
SAFE = safe_text(HOSTILE)
#: A section of GitLab's, as its server reads it, and the title behind it.
SECTION = re.compile(r"section_(start|end):(\d+):([a-zA-Z0-9_.-]+)(\[.*?\])?\r\x1b\[0K(.*)")
OURS = {"add-mask", "group", "endgroup", "error", "warning"}


def hostile_run() -> list[Any]:
    """Return what a hostile model says and calls: in its words, a tool's name, arguments, the path of a file."""
    calls = (
        ToolCall("1", HOSTILE, {"a": HOSTILE, HOSTILE: 1}),
        ToolCall("2", "write_file", {"path": "owned\n::error::owned ##[error]owned", "text": HOSTILE}),
        ToolCall("3", "read_file", {"path": f"/{HOSTILE[:200]}"}),
        ToolCall("4", "search_files", {"pattern": "("}),
    )
    return [Completion(HOSTILE, calls, USED, "tool_calls"), answer(HOSTILE)]


def only_ours(ended: Ended) -> None:
    """Check that a runner does what agentctl says, and nothing else."""
    for command in (*commands_of(ended.out), *commands_of(ended.err)):
        assert command.name in OURS, command
        if command.name == "add-mask":
            assert re.fullmatch(r"[0-9a-f]{64}", command.data), "the capability of the run"
        elif command.name == "group":
            assert re.fullmatch(r"turn \d+", command.data)
        elif command.name == "endgroup":
            assert command.data == ""
        else:
            assert command.properties["title"].startswith("agentctl: ")
            assert set(command.properties) == {"title"}
    assert len(annotated(ended)) <= 1
    assert azure_commands_of(ended.out) == azure_commands_of(ended.err) == []
    assert all(name.startswith("agentctl_") for _, _, name, _, _ in SECTION.findall(ended.out + ended.err))


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_text_of_a_model_commands_no_runner(step: Step, form: str) -> None:
    ended = step(hostile_run(), "-v", "-o", form, "--label", "x=##[error]owned", "--", f"Write {HOSTILE}")
    assert ended.code == 0
    only_ours(ended)
    groups = [command.name for command in commands_of(ended.err) if command.name.endswith("group")]
    assert groups == ["group", "endgroup"] * 2
    assert ended.err.rindex("::endgroup::") < ended.err.index("\ntool "), "what is said of the run is in no group"
    if form == "text":
        assert ended.out == f"{SAFE}\n"
    else:
        document = ended.lines[-1] if form == "jsonl" else ended.document
        assert document["answer"] == HOSTILE
        assert document["labels"]["x"] == "##[error]owned"
    outputs = read_file_command(step.output.read_text())
    assert (next(iter(outputs)), outputs["status"], outputs["answer"]) == ("status", "done", SAFE)


@pytest.mark.parametrize("form", ["text", "json"])
def test_text_of_an_error_commands_no_runner(step: Step, form: str) -> None:
    ended = step([AuthFailed(HOSTILE, hint=HOSTILE)], "-o", form, f"Look {HOSTILE}")
    assert ended.code == 77
    only_ours(ended)
    (found,) = annotated(ended)
    assert found.data.startswith(f"{SAFE}\nhint: {SAFE}"), "as it is: a runner reads the command, not its data"
    ended = step([], f"--{HOSTILE}", "Look")
    assert ended.code == 2
    only_ours(ended)


# --- the summary ------------------------------------------------------------------------------------------------


def leaves(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from leaves(token.children) if token.children else [token]


def only_fences(text: str) -> None:
    """Check that words of a run stand in fences and code spans alone, and that the only HTML is ours."""
    for token in leaves(MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)):
        if token.type in ("fence", "code_inline"):
            continue
        assert token.type not in ("image", "link_open", "html_inline", "code_block"), token
        if token.type == "html_block":
            assert token.content.strip() in ("<details><summary>Calls, limits and tools</summary>", "</details>")
        assert "owned" not in token.content, token


def test_a_summary_holds_the_run_and_several_runs_append(step: Step) -> None:
    step([Completion("Look.", (ToolCall("1", "system_memory", {}),), USED, "tool_calls"), answer("Fine.")], "Look")
    first = step.summary.read_text()
    assert first.startswith("\n### agentctl: done\n")
    for said in (
        "`2 turns · $0.026 of $0.50 · ",
        "tools: `system_memory: 1 call`\n",
        "Answer:\n\n```text\nFine.\n```\n",
    ):
        assert said in first
    assert "| max_cost_per_task | $0.50 | $0.026 |\n| max_cost_per_hour | $10 | $0.026 |" in first
    assert "<details><summary>Calls, limits and tools</summary>\n\n```text\ncall " in first
    step([AuthFailed("no such key", hint="agentctl providers set-key openai")], "Look")
    whole = step.summary.read_text()
    assert whole.startswith(f"{first}\n### agentctl: auth (exit 77)\n")
    assert "```text\nno such key\n```\n\nWhat to do:\n\n```text\nagentctl providers set-key openai\n```\n" in whole


def test_a_tripped_limit_says_what_to_paste(step: Step) -> None:
    ended = step([answer("x")], "--max-cost", "0.0001", "Look")
    assert ended.code == 3
    command = next(line for line in ended.err.splitlines() if line.startswith("hint: agentctl run ")).removeprefix(
        "hint: "
    )
    text = step.summary.read_text()
    assert f"What to do:\n\n```text\n{command}\n```\n" in text
    assert "### agentctl: budget (exit 3)" in text


def test_text_of_a_model_is_no_markdown(step: Step) -> None:
    step(hostile_run(), "-v", "--", f"Write {HOSTILE}")
    step([AuthFailed(HOSTILE, hint=HOSTILE)], "Look")
    only_fences(step.summary.read_text())


@given(st.text(st.sampled_from("`~<>!()|é\n a\\"), min_size=1), st.integers(1, 40_000), st.sampled_from(ExitStatus))
def test_a_summary_is_never_above_64_kb_nor_open(words: str, times: int, status: ExitStatus) -> None:
    text = f"{words}owned{words}" * (times // len(words) + 1)
    end = RunEnd(status, message=text, steps=(text,) * 3, run_id="a1b2c3", answer=text, table=text, warnings=(text,))
    end = end._replace(tools=(ToolCount(text, 1, 1),) * 99, denied=(text,) * 99, agent=text, model=text)
    summary = run_summary(end)
    assert len(summary.encode()) <= MOST_BYTES == 64_000
    only_fences(summary)
    assert f"### agentctl: {status.shown}" in summary


def test_a_long_answer_is_cut_where_the_summary_is_full() -> None:
    end = RunEnd(ExitStatus.done, run_id="a1b2c3", answer="é" * 90_000, table="the table")
    summary = run_summary(end)
    assert MOST_BYTES - 100 < len(summary.encode()) <= MOST_BYTES
    assert "é\n[cut, 180,000 bytes in all: agentctl runs show a1b2c3]\n```\n" in summary
    assert "the table" in summary


@pytest.mark.parametrize(("room", "said"), [(3000, "The answer"), (400, "has no room for more"), (20, "")])
def test_all_runs_of_a_step_stay_within_what_github_takes(step: Step, room: int, said: str) -> None:
    step.summary.write_bytes(b"x" * (STEP_BYTES - room - 1) + b"\n")
    ended = step([answer("The answer. " * 20)], "Look")
    text = step.summary.read_text()
    assert ended.code == 0
    assert len(text.encode()) <= STEP_BYTES == 1_048_576
    assert said in text[-room:]
    warnings = [line for line in ended.err.splitlines() if line.startswith("warning: ")]
    full = f"warning: not written: GITHUB_STEP_SUMMARY {step.summary}: it is full"
    assert warnings == ([] if said else [full])


def test_all_files_that_cannot_be_written_are_one_warning(step: Step, tmp_path: Path) -> None:
    step.output.unlink()
    step.summary.unlink()
    step.summary.mkdir()
    (tmp_path / "file").touch()
    ended = step([answer("Well.")], "--junit", "file/x.xml", "--dotenv", "nul\0", "Look")
    assert (ended.code, ended.out) == (0, "Well.\n")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("warning: ")]
    assert line == (
        f"warning: not written: GITHUB_OUTPUT {step.output}: no such file or directory; "
        f"GITHUB_STEP_SUMMARY {step.summary}: is a directory; --dotenv nul\\x00: not a file name; "
        "--junit file/x.xml: file exists"
    )


# --- other systems ----------------------------------------------------------------------------------------------


@pytest.fixture
def gitlab(step: Step, monkeypatch: pytest.MonkeyPatch) -> Step:
    for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("GITLAB_CI", "true")
    return step


def test_gitlab_gets_a_section_for_each_turn_with_v(gitlab: Step) -> None:
    ended = gitlab(hostile_run(), "-v", "--", f"Write {HOSTILE}")
    found = SECTION.findall(ended.err)
    run_id = found[0][2].split("_")[1]
    assert [(what, name, title) for what, _, name, _, title in found] == [
        (what, f"agentctl_{run_id}_turn_{turn}", f"turn {turn}" if what == "start" else "")
        for turn in (1, 2)
        for what in ("start", "end")
    ]
    only_ours(ended)
    assert commands_of(ended.err) == []
    assert SECTION.findall(gitlab(hostile_run(), "--", "Write").err) == []


def test_buildkite_gets_no_heading_and_stdout_stays_as_it_is(gitlab: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITLAB_CI")
    monkeypatch.setenv("BUILDKITE", "true")
    for words in (("--color", "always"), ("-v",), ("--max-turns", "1")):
        ended = gitlab(hostile_run(), *words, "--", "Write")
        plain = re.sub(r"\x1b\[[;\d]*[mK]", "", ended.err)
        assert not re.search(r"^(?:---|\+\+\+|~~~|\^\^\^)\s", plain, re.MULTILINE)
        assert ended.out == (f"{SAFE}\n" if ended.code == 0 else "")
    assert "\n --- so far ---\n" in plain


def test_a_heading_of_buildkite_gets_a_blank_and_nothing_else_changes() -> None:
    diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n---\n\x1b[2m~~~ so far\x1b[0m\n----\n--flag\n"
    shown = " --- a/x\n +++ b/x\n@@ -1 +1 @@\n ---\n \x1b[2m~~~ so far\x1b[0m\n----\n--flag\n"
    assert without_headings(diff) == without_headings(shown) == shown


def test_a_dotenv_report_is_what_gitlab_takes(gitlab: Step, tmp_path: Path) -> None:
    reply = json.dumps({"name": "$CI_JOB_TOKEN\nAGENT_STATUS=owned é"})
    gitlab([answer(reply)], "--schema", "name:string", "--dotenv", "reports/run.env", "Look")
    text = (tmp_path / "reports/run.env").read_text()
    assert len(text.encode()) <= 5 * 1024
    values = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert len(values) == text.count("\n") == len(text.splitlines())
    run_id = values.pop("AGENT_RUN_ID")
    assert re.fullmatch(r"[0-9a-f]{12}", run_id)
    structured = values.pop("AGENT_STRUCTURED")
    assert (json.loads(structured), "$" in structured) == (json.loads(reply), False)
    assert values == {"AGENT_STATUS": "done", "AGENT_EXIT_CODE": "0", "AGENT_COST_USD": "0.013"}
    gitlab([AuthFailed("no")], "--dotenv", "reports/run.env", "Look")
    assert (tmp_path / "reports/run.env").read_text().startswith("AGENT_STATUS=auth\nAGENT_EXIT_CODE=77\n")


def test_a_dotenv_report_has_no_value_that_gitlab_would_refuse_for_its_size(gitlab: Step, tmp_path: Path) -> None:
    gitlab([answer(json.dumps({"name": "x" * 5000}))], "--schema", "name:string", "--dotenv", "run.env", "Look")
    assert "AGENT_STRUCTURED=\n" in (tmp_path / "run.env").read_text()


# --- JUnit ------------------------------------------------------------------------------------------------------

ENDS: list[tuple[list[Any], tuple[str, ...], int, str]] = [
    ([answer("Well.")], (), 0, ""),
    ([answer("x")], ("--max-cost", "0.0001"), 3, "failure"),
    ([answer("")] * 9, (), 1, "failure"),
    ([AuthFailed("no such key")], (), 77, "error"),
    ([hang], ("--timeout", "1s"), 124, "error"),
    ([], ("--no-such-flag",), 2, "error"),
    ([], ("--input", "missing"), 2, "error"),
]


@pytest.mark.parametrize(("script", "words", "code", "element"), ENDS, ids=lambda value: str(value)[:12])
def test_a_junit_report_is_written_whatever_the_end(
    gitlab: Step, tmp_path: Path, script: list[Any], words: tuple[str, ...], code: int, element: str
) -> None:
    ended = gitlab(script, "--no-ci", "--junit", "run.xml", *words, "How are you?")
    assert ended.code == code
    suite = read_junit((tmp_path / "run.xml").read_text())
    (case,) = suite.findall("testcase")
    found = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert found["exit_code"] == str(code)
    assert [child.tag for child in case] == ([element] if element else [])
    assert suite.findtext("system-out") == ("Well." if code == 0 else "")
    if element:
        said = next(line for line in ended.err.splitlines() if line.startswith("error: ")).removeprefix("error: ")
        assert case[0].get("message") == said
    assert case.get("name") == ("run" if words == ("--no-such-flag",) else "How are you?")
    assert (tmp_path / "run.xml").stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in tmp_path.glob("run.xml*")) == ["run.xml"]


@given(st.text() | st.just(HOSTILE), st.sampled_from(ExitStatus))
def test_any_text_is_xml_and_reads_back_as_it_is_shown(text: str, status: ExitStatus) -> None:
    shown = safe_text(text)
    end = RunEnd(status, message=shown, kind="x", steps=(shown,), task=shown, agent=shown, answer=shown)
    suite = read_junit(junit_report(end._replace(labels=((shown or "x", shown),)), now=datetime.now(UTC)))
    read = suite.findtext("system-out")
    assert read == re.sub("[\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", shown)


@pytest.mark.parametrize(("flag", "begin"), [("--junit", b"<?xml"), ("--dotenv", b"AGENT")])
def test_a_report_for_a_pipe_is_written_to_it(gitlab: Step, tmp_path: Path, flag: str, begin: bytes) -> None:
    os.mkfifo(tmp_path / "pipe")  # never a device of the machine: if this goes wrong, it is replaced
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    ended = gitlab([answer("Well.")], flag, "pipe", "Look")
    assert (ended.code, os.read(reading, 5), (tmp_path / "pipe").is_fifo()) == (0, begin, True)
    os.close(reading)


@pytest.mark.parametrize("flag", ["--junit", "--dotenv"])
def test_the_name_of_a_report_must_not_be_empty(gitlab: Step, flag: str) -> None:
    ended = gitlab([], flag, "", "Look")
    assert (ended.code, ended.err) == (2, f"error: {flag} is empty\nhint: name a file: {flag} FILE\n")
