"""``run --record`` and ``--replay``: a recorded run is replayed without a server, a key or a bill, and ends alike."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bill.parts import KEY, PAID, reaching
from tests.support.command_line import Here
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Answer, Call, Fault, Step, WireRequest
from tests.support.wire.server import WireServer

TASK = "What does notes.txt say?"
LOOK = Answer(calls=(Call("read_file", {"path": "notes.txt"}),))
SAID = Answer("It says: all is well. ü")
RUN = ("run", "--json", "--agent", "system")
FILE = "run.cassette"
VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "OLLAMA_HOST")

Servers = Callable[..., WireServer]
Offline = Callable[[WireServer], None]


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_SANDBOX", "none")
    monkeypatch.setenv("CI", "1")  # nothing falls through to a server of this machine
    (tmp_path / "notes.txt").write_text("all is well\n")


@pytest.fixture
def servers(wire: OpenWire, monkeypatch: pytest.MonkeyPatch) -> Callable[..., WireServer]:
    """Open a server that the environment names as a provider."""

    def opened(script: Any, *, format: str = "openai", **more: Any) -> WireServer:  # noqa: ANN401
        server: WireServer = wire(script, rates=PAID[format].rates, **more)
        for name, value in reaching(server, format).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AGENTCTL_AGENT")
        return server

    return opened


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[WireServer], None]:
    """Take the server and all that names it away."""

    def gone(server: WireServer) -> None:
        server.close()
        for name in (*VARIABLES, "LLM_PROVIDER", "LLM_MODEL"):
            monkeypatch.delenv(name, raising=False)

    return gone


def lines(name: str = FILE) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def of(kind: str, name: str = FILE) -> list[dict[str, Any]]:
    return [line for line in lines(name) if line["kind"] == kind]


def same(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a run and its replay have in common."""
    names = ("status", "exit_code", "answer", "complete", "provider", "model", "models", "turns", "usage", "tools")
    return {name: document[name] for name in (*names, "limits", "breaker", "denied", "client", "structured")}


@pytest.mark.parametrize("client", ["lean", "litellm"])
@pytest.mark.parametrize("format", ["openai", "anthropic", "ollama"])
def test_a_recorded_run_is_replayed_without_server_and_key(
    here: Here,
    servers: Servers,
    offline: Offline,
    format: str,
    client: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLM_CLIENT", client)
    server = servers([LOOK, SAID], format=format, keys=[KEY])
    recorded = here(*RUN, "--record", FILE, TASK)
    assert (recorded.code, recorded.document["replayed"]) == (0, False)
    assert stat.S_IMODE(Path(FILE).stat().st_mode) == 0o600
    assert KEY not in Path(FILE).read_text()
    assert [one["end"] for one in of("attempt")] == ["complete"] * 2
    offline(server)
    connects: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *given: connects.append(given))
    replayed = here(*RUN, "--replay", FILE, TASK)
    assert replayed.code == 0, replayed.err
    assert same(replayed.document) == same(recorded.document)
    assert (replayed.document["replayed"], replayed.document["cost"]["nano_usd"]) == (True, 0)
    assert replayed.document["cost"]["replayed_usd"] == recorded.document["cost"]["usd"]
    assert connects == []


def test_the_responses_format_is_replayed(here: Here, servers: Servers, offline: Offline) -> None:
    server = servers([LOOK, SAID])
    words = ("--provider", "openai", "--model", "gpt-5-codex", "--max-cost", "5", TASK)
    recorded = here(*RUN, "--record", FILE, *words)
    assert recorded.code == 0, recorded.err
    offline(server)
    replayed = here(*RUN, "--replay", FILE, "--max-cost", "5", TASK)
    assert same(replayed.document) == same(recorded.document)
    assert replayed.document["client"] == "litellm"


def test_the_user_ledger_holds_nothing_of_a_replay(here: Here, servers: Servers, offline: Offline) -> None:
    offline_after = servers([LOOK, SAID])
    here(*RUN, "--record", FILE, TASK)
    before = here("costs", "--json").document
    offline(offline_after)
    run = here(*RUN, "--replay", FILE, TASK).document["run_id"]
    after = here("costs", "--json").document
    assert after["total"] == before["total"]
    assert here("ledger", "check", "--json").code == 0
    shown = here("runs", "show", run, "--json")
    assert shown.code == 0
    refused = here("run", "--resume", run, "And now?")
    assert (refused.code, "was a replay" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("format", "client", "pointer"),
    [
        ("openai", "lean", "/messages/0/content"),
        ("openai", "litellm", "/messages/0/content"),
        ("anthropic", "lean", "/system"),
    ],
)
def test_one_changed_word_of_the_system_prompt_misses_with_both_values(
    here: Here,
    servers: Servers,
    offline: Offline,
    format: str,
    client: str,
    pointer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLM_CLIENT", client)
    server = servers([Answer("Well.")], format=format)
    Path("a.toml").write_text('instructions = "You are a careful helper."\ntools = []\n')
    here("run", "--agent-file", "a.toml", "--record", FILE, "Hello")
    offline(server)
    Path("a.toml").write_text('instructions = "You are a careless helper."\ntools = []\n')
    missed = here("run", "--json", "--agent-file", "a.toml", "--replay", FILE, "Hello")
    assert (missed.code, missed.document["error"]["kind"]) == (4, "cassette")
    said = missed.document["error"]["message"]
    assert f"differs from recording 1 at {pointer}" in said
    assert said.index("careful") < said.index("careless")
    assert missed.document["cost"] == {**missed.document["cost"], "usd": 0.0, "in_doubt_usd": 0.0}


def test_a_request_that_is_repeated_more_often_than_recorded_misses(
    here: Here,
    servers: Servers,
    offline: Offline,
) -> None:
    server = servers([Fault(500), Answer("Well.")])
    assert here(*RUN, "--record", FILE, "Hello").code == 0
    offline(server)
    kept = [line for line in lines() if line.get("status") != 200]
    Path(FILE).write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    missed = here(*RUN, "--replay", FILE, "Hello")
    assert (missed.code, missed.document["error"]["kind"]) == (4, "cassette")
    assert "it is the same as recording 1, which was used already" in missed.document["error"]["message"]


def test_a_last_answer_that_was_not_recorded_is_a_miss_and_no_other_end(
    here: Here, servers: Servers, offline: Offline
) -> None:
    server = servers([LOOK, SAID])
    assert here(*RUN, "--record", FILE, TASK).code == 0
    offline(server)
    missed = here(*RUN, "--replay", FILE, "--max-turns", "1", TASK)  # asks for an answer from the results so far
    assert (missed.code, missed.document["error"]["kind"]) == (4, "cassette")
    assert "request 2 was not recorded" in missed.document["error"]["message"]


def test_a_cassette_that_lacks_only_its_end_is_replayed_with_a_warning(
    here: Here, servers: Servers, offline: Offline
) -> None:
    server = servers([LOOK, SAID])
    here(*RUN, "--record", FILE, TASK)
    offline(server)
    kept = [line for line in lines() if line["kind"] != "end"]
    Path(FILE).write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    replayed = here(*RUN, "--replay", FILE, TASK)
    assert (replayed.code, replayed.document["answer"]) == (0, SAID.text)
    assert any("the end of the run is missing" in said for said in replayed.document["warnings"])


RETRIED: dict[str, list[Step]] = {
    "server error": [Fault(500), SAID],
    "try later": [Fault(429, headers=(("retry-after", "1"),)), SAID],
    "no model": [Fault(code="model_not_found")],
    "cut in the middle": [Answer("It says", cut_at="middle"), SAID],
    "an error in the stream": [Fault(503, in_stream=True), SAID],
    "a reset": [Fault(reset=True), SAID],
    "a closed connection": [Fault(hang_up=True), SAID],
    "garbage": [Answer(garbage=b"<html>no</html>"), SAID],
}


@pytest.mark.parametrize("name", RETRIED)
def test_failures_and_retries_are_replayed_as_they_were(
    here: Here,
    servers: Servers,
    offline: Offline,
    name: str,
) -> None:
    server = servers(RETRIED[name])
    recorded = here(*RUN, "--record", FILE, "Hello")
    offline(server)
    replayed = here(*RUN, "--replay", FILE, "Hello")
    assert same(replayed.document) == same(recorded.document)
    assert replayed.document["error"] == recorded.document["error"]


def test_failures_are_replayed_in_real_time_as_they_were(here: Here, servers: Servers, offline: Offline) -> None:
    server = servers([Fault(429, headers=(("retry-after", "1"),)), LOOK, Fault(500), SAID])
    recorded = here(*RUN, "--record", FILE, TASK)
    assert recorded.code == 0, recorded.err
    offline(server)
    replayed = here(*RUN, "--replay", FILE, "--replay-time", "real", TASK)
    assert same(replayed.document) == same(recorded.document)


def test_an_address_where_nothing_listens_is_replayed_with_its_fallback(
    here: Here,
    servers: Servers,
    offline: Offline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = servers([SAID], format="anthropic")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    words = ("--model", f"openai/{PAID['openai'].model}", "--fallbacks", f"anthropic/{PAID['anthropic'].model}")
    recorded = here(*RUN, "--record", FILE, *words, "Hello").document
    assert (recorded["answer"], recorded["fallbacks"][0]["failed"]) == (SAID.text, f"openai/{PAID['openai'].model}")
    offline(server)
    replayed = here(*RUN, "--replay", FILE, *words[2:], "Hello").document
    assert same(replayed) == same(recorded)
    assert replayed["fallbacks"] == recorded["fallbacks"]


def test_a_breaker_trips_in_a_replay_where_it_tripped(here: Here, servers: Servers, offline: Offline) -> None:
    server = servers([LOOK, LOOK, LOOK, SAID])
    words = ("--max-cost", "0.03", "--max-output-tokens", "400", TASK)
    recorded = here(*RUN, "--record", FILE, *words)
    assert recorded.code == 3, recorded.err
    offline(server)
    replayed = here(*RUN, "--replay", FILE, *words)
    assert same(replayed.document) == same(recorded.document)
    assert replayed.document["breaker"]["spent"] == recorded.document["breaker"]["spent"]


def test_what_counted_in_the_hour_at_recording_counts_in_the_replay(
    here: Here,
    servers: Servers,
    offline: Offline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = servers([SAID, SAID], repeat=True)
    spent = here(*RUN, "Hello").document["cost"]["usd"]
    recorded = here(*RUN, "--record", FILE, "--max-cost-per-hour", f"{spent * 1.5:.6f}", "Hello")
    offline(server)
    monkeypatch.setenv("AGENTCTL_STATE_DIR", str(tmp_path / "another"))
    replayed = here(*RUN, "--replay", FILE, "--max-cost-per-hour", f"{spent * 1.5:.6f}", "Hello")
    assert (replayed.code, same(replayed.document)) == (recorded.code, same(recorded.document))


def test_replayed_tools_do_not_run_and_other_arguments_end_the_run(
    here: Here,
    servers: Servers,
    offline: Offline,
) -> None:
    gone = Answer(calls=(Call("read_file", {"path": "gone.txt"}), Call("run_shell", {"command": "echo hi > made"})))
    server = servers([gone, SAID])
    words = ("--tools", "read_file,run_shell")
    recorded = here(*RUN, "--record", FILE, *words, "-y", TASK)
    assert recorded.code == 0, recorded.err
    Path("made").unlink()
    Path("gone.txt").write_text("here now")
    offline(server)
    replayed = here(*RUN, "--replay", FILE, "--replay-tools", *words, TASK)
    assert same(replayed.document) == same(recorded.document)
    assert not Path("made").exists()
    for_real = here(*RUN, "--replay", FILE, *words, "-y", TASK)
    assert (for_real.code, Path("made").exists()) == (4, True)
    assert "/messages/3/content" in for_real.document["error"]["message"]

    text = Path(FILE).read_text().replace('"arguments": {"path": "gone.txt"}', '"arguments": {"path": "other.txt"}')
    Path(FILE).write_text(text)
    missed = here(*RUN, "--replay", FILE, "--replay-tools", *words, TASK)
    assert (missed.code, missed.document["error"]["kind"]) == (4, "cassette")
    assert 'at /arguments/path: recorded "other.txt", now "gone.txt"' in missed.document["error"]["message"]


def test_a_denied_call_is_replayed_as_denied(here: Here, servers: Servers, offline: Offline) -> None:
    server = servers([Answer(calls=(Call("run_shell", {"command": "rm x"}),)), Answer("It was denied.")])
    recorded = here(*RUN, "--record", FILE, "--tools", "run_shell", TASK)
    assert recorded.code == 5, recorded.err
    offline(server)
    replayed = here(*RUN, "--replay", FILE, "--replay-tools", "--tools", "run_shell", TASK)
    assert same(replayed.document) == same(recorded.document)


def test_parallel_runs_with_the_same_task_take_their_own_answers(
    here: Here,
    servers: Servers,
    offline: Offline,
) -> None:
    Path("lead.toml").write_text('instructions = "You lead."\ntools = ["delegate"]\n')
    both = tuple(Call("delegate", {"agent": "system", "task": "Look at notes.txt."}) for _ in range(2))
    told: list[str] = []

    def answers(asked: WireRequest) -> Answer:
        if asked.messages[0].text.startswith("You lead"):
            results = [said.text for said in asked.messages if said.role == "tool"]
            return Answer("Both looked.") if results else Answer(calls=both)
        if any(said.role == "tool" for said in asked.messages):
            told.append(f"Answer {len(told)}.")
            return Answer(told[-1])
        return LOOK

    server = servers(answers)
    words = ("run", "--json", "--agent-file", "lead.toml", "--max-cost", "5")
    recorded = here(*words, "--record", FILE, "Lead.")
    assert (recorded.code, len(told)) == (0, 2), recorded.err
    assert len({line["lane"] for line in of("attempt")}) == 3
    offline(server)
    replayed = here(*words, "--replay", FILE, "Lead.")
    assert same(replayed.document) == same(recorded.document), replayed.err
    assert [run["cost"]["usd"] for run in replayed.document["delegated"]] == [0.0, 0.0]


def test_chunks_come_as_they_came_and_real_time_waits(here: Here, servers: Servers, offline: Offline) -> None:
    server = servers([Answer("One two three four five six seven eight nine ten.", gap_s=0.05)])
    here(*RUN, "--record", FILE, "Hello")
    (attempt,) = of("attempt")
    times = [ms for ms, _ in attempt["chunks"]]
    assert times == sorted(times)
    assert times[-1] - times[0] >= 50
    offline(server)
    replays = {time: here(*RUN, "--replay", FILE, "--replay-time", time, "Hello") for time in ("real", "none")}
    assert {time: one.code for time, one in replays.items()} == {"real": 0, "none": 0}, replays["real"].err
    assert replays["real"].document["duration_s"] >= times[len(times) // 2] / 1000
    events = [json.loads(line) for line in here("run", "-o", "jsonl", "--replay", FILE, "Hello").out.splitlines()]
    assert len([one for one in events if one["event"] == "answer_streamed"]) > 1


def test_a_silent_server_is_silent_in_the_replay_without_the_wait(
    here: Here,
    servers: Servers,
    offline: Offline,
) -> None:
    server = servers([Answer("Well.", stall=True, cut_at="first"), SAID])
    recorded = here(*RUN, "--record", FILE, "--llm-timeout", "1", "Hello")
    offline(server)
    replayed = here(*RUN, "--replay", FILE, "--llm-timeout", "1", "Hello")
    assert same(replayed.document) == same(recorded.document)
    assert replayed.document["error"] == recorded.document["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--record", "a", "--replay", "b"), "--record cannot be combined with --replay"),
        (("--record", "-"), "--record needs the name of a file"),
        (("--replay-tools",), "--replay-tools is for a replay"),
        (("--replay-time", "real"), "--replay-time is for a replay"),
        (("--record", "a", "--estimate"), "--record cannot be combined with --estimate"),
        (("--replay", "missing"), "the cassette missing cannot be read: No such file or directory"),
        (("--replay", "."), "the cassette . is not a regular file"),
        (("--replay", "notes.txt"), "notes.txt is no cassette"),
        (("--replay", FILE, "-c"), "--replay cannot be combined with a run that goes on"),
        (("--record", "no/such/folder"), "cannot be created: No such file or directory"),
        (("--record", "notes.txt"), "exists, and is not overwritten"),
    ],
)
def test_flags_that_cannot_be_used_are_refused_before_anything_is_sent(
    here: Here,
    servers: Servers,
    words: tuple[str, ...],
    said: str,
) -> None:
    server = servers([SAID])
    ended = here("run", "--json", *words, "Hello")
    assert (ended.code, said in ended.document["error"]["message"]) == (74 if "folder" in words[-1] else 2, True)
    assert server.books.chat_requests == ()


def test_only_of_a_cassette_it_is_suggested_that_it_be_removed(here: Here, servers: Servers) -> None:
    servers([SAID])
    Path("a folder").mkdir()
    os.mkfifo("pipe")
    assert here(*RUN, "--record", "my cassette", "Hello").code == 0
    Path("link").symlink_to("my cassette")
    for name in ("notes.txt", "a folder", "pipe", "link"):
        ended = here(*RUN, "--record", name, "Hello")
        assert (ended.code, ended.document["error"]["hint"]) == (2, "name a file that does not exist yet")
    ended = here(*RUN, "--record", "my cassette", "Hello")
    given = f"'{Path('my cassette').absolute()}'"
    assert ended.document["error"]["hint"] == (
        f"replay it: --replay {given}   (or remove it, to record again: rm {given})"
    )


def test_builtin_is_not_recorded(here: Here) -> None:
    ended = here("run", "--provider", "builtin", "--record", FILE, "How much memory is used?")
    assert (ended.code, "builtin cannot be recorded or replayed" in ended.err, Path(FILE).exists()) == (2, True, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("cassette/1", "cassette/2", 1), "has the format agentctl.cassette/2"),
        (lambda text: text.replace("You look after", "You care for", 1), "its SHA-256 is not that of its request"),
        (lambda text: text.replace('"lane": ""', '"lane": 1', 1), "line 2: lane is missing or wrong"),
        (lambda text: text.replace('"chunks": [[', '"chunks": [7, [', 1), "a chunk is wrong"),
        (lambda text: text + '{"kind": "tool"\n', "it holds no JSON object"),
        (lambda text: text + text, "holds a second recording, from line 8 on"),
        (lambda text: text.replace('"format"', '"form"', 1) + "{\n", f"{FILE} is no cassette"),
        (
            lambda text: text.replace("all is well", "ghp_" + "a1B2" * 9, 1),
            "holds what looks like a key (github-token)",
        ),
    ],
)
def test_a_cassette_that_cannot_be_trusted_is_refused(
    here: Here,
    servers: Servers,
    change: Callable[[str], str],
    said: str,
) -> None:
    servers([LOOK, SAID])
    here(*RUN, "--record", FILE, TASK)
    Path(FILE).write_text(change(Path(FILE).read_text()))
    for words in ((*RUN, "--replay", FILE, TASK), ("cassette", "check", FILE, "--json")):
        ended = here(*words)
        assert (ended.code, said in ended.document["error"]["message"]) == (2, True), ended.document["error"]


def test_a_truncated_cassette_is_used_up_to_there(here: Here, servers: Servers, offline: Offline) -> None:
    server = servers([LOOK, SAID])
    here(*RUN, "--record", FILE, TASK)
    offline(server)
    text = Path(FILE).read_text()
    Path(FILE).write_text(text[: text.rindex('"chunks"')])
    checked = here("cassette", "check", FILE)
    assert (checked.code, "is cut off" in checked.err) == (4, True)
    missed = here(*RUN, "--replay", FILE, TASK)
    assert (missed.code, missed.document["error"]["kind"]) == (4, "cassette")
    assert any("is incomplete: line " in said for said in missed.document["warnings"])


@pytest.mark.parametrize("text", ["It is hunter2hunter2 now.", "hunter2hunter2hunter2hunter2, and hunter2hunter2"])
def test_the_exact_secrets_are_not_in_a_cassette(
    here: Here,
    servers: Servers,
    offline: Offline,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "hunter2hunter2")
    server = servers([Answer(text)])
    ended = here(*RUN, "--provider", "openai", "--record", FILE, "Say hunter2hunter2.")
    assert ended.code == 0
    assert "hunter2hunter2" not in Path(FILE).read_text()
    assert ended.document["warnings"] == []
    offline(server)
    replayed = here(*RUN, "--replay", FILE, "Say hunter2hunter2.")
    assert replayed.document["answer"] == text.replace("hunter2hunter2", "[redacted]")
    assert here("cassette", "check", FILE).code == 0


def test_a_key_in_an_answer_stops_the_recording_and_not_the_run(here: Here, servers: Servers) -> None:
    servers([LOOK, Answer("Use ghp_" + "a1B2" * 9 + " as the token.")])
    ended = here(*RUN, "--record", FILE, TASK)
    assert (ended.code, ended.document["complete"]) == (0, True)
    assert ended.document["warnings"] == [
        f"the cassette {Path(FILE).absolute()} is incomplete: it would hold what looks like a key (github-token)"
    ]
    assert len(of("attempt")) == 1
    assert "ghp_" not in Path(FILE).read_text()
    assert here("cassette", "check", FILE).code == 4


def test_a_cassette_is_the_same_in_another_folder_and_with_another_state(
    here: Here,
    servers: Servers,
    offline: Offline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = tmp_path / "one" / "project", tmp_path / "two"
    for folder in (first, second):
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("all is well\n")
    server = servers([LOOK, SAID])
    monkeypatch.chdir(first)
    recorded = here(*RUN, "--record", FILE, "Where in this folder is notes.txt?")
    assert recorded.code == 0, recorded.err
    offline(server)
    monkeypatch.chdir(second)
    monkeypatch.setenv("AGENTCTL_STATE_DIR", str(tmp_path / "elsewhere"))
    replayed = here(*RUN, "--replay", str(first / FILE), "Where in this folder is notes.txt?")
    assert replayed.code == 0, replayed.err


def test_a_trip_before_the_first_request_is_replayed_too(here: Here, servers: Servers, offline: Offline) -> None:
    server = servers([SAID])
    words = ("--max-cost", "0.0001", "Hello")
    recorded = here(*RUN, "--record", FILE, *words)
    assert (recorded.code, of("attempt")) == (3, [])
    offline(server)
    replayed = here(*RUN, "--replay", FILE, *words)
    assert same(replayed.document) == same(recorded.document)


def test_a_resumed_part_and_a_fork_are_recorded_and_a_fork_is_replayed(
    here: Here,
    servers: Servers,
    offline: Offline,
) -> None:
    server = servers([SAID, Answer("Again: well."), Answer("Forked.")])
    run = here(*RUN, "Hello").document["run_id"]
    assert here("run", "--resume", run, "--json", "--record", "second", "Again").document["answer"] == "Again: well."
    recorded = here("run", "--resume", run, "--fork", "--json", "--record", "third", "And now?")
    assert recorded.code == 0, recorded.err
    offline(server)
    replayed = here("run", "--resume", run, "--fork", "--json", "--replay", "third", "And now?")
    assert (replayed.code, replayed.document["answer"]) == (0, "Forked."), replayed.err
    assert here("cassette", "check", "second", "third").code == 0


def test_an_answer_by_a_schema_is_replayed(here: Here, servers: Servers, offline: Offline) -> None:
    server = servers([Answer('{"n": "many"}'), Answer('{"n": 3}')])
    recorded = here(*RUN, "--record", FILE, "--schema", "n:int", "How many?")
    assert recorded.document["structured"] == {"n": 3}, recorded.err
    offline(server)
    replayed = here(*RUN, "--replay", FILE, "--schema", "n:int", "How many?")
    assert same(replayed.document) == same(recorded.document)


def test_show_describes_the_recording_and_prints_one_attempt(here: Here, servers: Servers) -> None:
    servers([LOOK, SAID])
    here(*RUN, "--record", FILE, TASK)
    text = here("cassette", "show", FILE).out
    assert TASK in text
    assert "read_file" in text
    assert "2 pieces" in text or "pieces" in text
    (shown,) = here("cassette", "show", FILE, "--json").document["cassettes"]
    assert [one["status"] for one in shown["attempts"]] == [200, 200]
    assert (shown["flaw"], shown["status"], shown["task"]) == (None, "done", TASK)
    one = json.loads(here("cassette", "show", FILE, "--attempt", "2").out)
    assert one["request"]["messages"][-1]["role"] == "tool"
    assert here("cassette", "show", FILE, "--attempt", "3").code == 2
    assert here("cassette", "check", FILE).out.startswith("ok")


def test_a_run_without_a_cassette_loads_none_of_it(here: Here) -> None:
    from tests.support.command_line import loaded_modules

    loaded = loaded_modules("run", "--provider", "builtin", "How much memory is used?")
    assert not {name for name in loaded if "cassette" in name}


def test_the_hash_of_a_run_does_not_depend_on_its_environment(here: Here, servers: Servers) -> None:
    servers([SAID], repeat=True)
    for name in ("a", "b"):
        here(*RUN, "--record", name, "Hello")
    assert [one["sha256"] for one in of("attempt", "a")] == [one["sha256"] for one in of("attempt", "b")]
