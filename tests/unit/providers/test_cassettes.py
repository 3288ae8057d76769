"""The parts of a cassette by themselves: the normal form, the difference that is shown, secrets in pieces, errors."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import tempfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest

from agentctl.core.errors import StateError
from agentctl.ledger.replay_ledger import ReplayLedger
from agentctl.providers.cassettes.answer_redaction import hide_secrets
from agentctl.providers.cassettes.cassette_file import key_in
from agentctl.providers.cassettes.misses import explain_miss, first_difference
from agentctl.providers.cassettes.normal_form import NormalForm, digest
from agentctl.providers.cassettes.replaying import CassetteReplay, ReplayLane
from agentctl.providers.cassettes.transports import described, rebuilt
from agentctl.providers.connection_errors import root_causes
from tests.support.cassettes import write_cassette

HIDDEN = "hunter2hunter2"


def body(text: str, *, call: str = "call_a", **more: object) -> dict[str, object]:
    calls = [{"id": call, "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages: list[object] = [
        {"role": "user", "content": text},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": call, "content": "x"},
    ]
    return {"model": "m", "messages": messages, **more}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Hi\n\n[It is 2026-11-30 11:23 UTC. More.]", "Hi\n\n[It is 2027-01-01 00:00 UTC. More.]"),
        ("run 0123456789ab", "run ba9876543210"),
        ("/srv/one/project/notes.txt", "/home/me/two/notes.txt"),
        ("/var/state/a/runs/0123456789ff/1.txt", "/home/me/state/runs/00000000000f/1.txt"),
        ("[redacted:github-token:0a1b2c]", "[redacted:quoted-mark:ffffff]"),
        (f"my {HIDDEN}", "my [redacted]"),
    ],
)
def test_what_differs_from_run_to_run_is_no_part_of_a_request(first: str, second: str) -> None:
    one = NormalForm(workdir="/srv/one/project", state_dir="/var/state/a", secrets=(HIDDEN,))
    other = NormalForm(workdir="/home/me/two", state_dir="/home/me/state")
    one.name_run("0123456789ab", "<run>")
    other.name_run("ba9876543210", "<run>")
    found = one.request(body(first)), other.request(body(second, call="call_b"))
    assert found[0] == found[1]
    assert digest(found[0]) == digest(dict(reversed(found[1].items())))


@pytest.mark.parametrize("folder", ["/", "/tmp", "/root"])
def test_a_short_path_is_a_word_of_other_texts_and_stays(folder: str) -> None:
    text = f"{folder} is full"
    assert NormalForm(workdir=folder, state_dir=folder).text(text) == text


def test_everything_else_counts() -> None:
    form = NormalForm()
    known = digest(form.request(body("Hi")))
    others = [
        body("hi"),
        body("Hi", temperature=0),
        body("Hi") | {"model": "n"},
        body("[It was 2026-11-30 11:23 UTC.]"),
    ]
    assert known not in [digest(form.request(other)) for other in others]


def test_the_first_difference_has_a_pointer_and_both_values() -> None:
    long = "a" * 500
    found = first_difference(body(f"{long} old"), body(f"{long} new"))
    assert found is not None
    assert (found.pointer, found.recorded[-4:], found.given[-4:]) == ("/messages/0/content", 'old"', 'new"')
    assert len(found.recorded) < 100
    assert first_difference({"a/b": 1, "c": True}, {"a/b": 1, "c": 1}) == ("/c", "true", "1")
    assert first_difference({"a~/b": 1}, {"a~/b": 2}) == ("/a~0~1b", "1", "2")
    assert first_difference([1], [1, 2]) == ("/1", "nothing", "2")
    assert first_difference({"a": 1, "b": 2}, {"b": 2, "a": 1}) is None


def test_the_nearest_recording_is_named() -> None:
    recorded = [body("one", tools=["x"]), body("two words", tools=["x", "y"])]
    error = explain_miss(body("two wards", tools=["x", "y"]), recorded, [3, 7], what="request 9")
    assert "request 9 was not recorded: it differs from recording 7 at /messages/0/content" in error.message
    assert (error.billed, error.unsent, error.retryable) == ("no", True, False)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_secret_is_taken_out_of_a_stream_however_it_is_cut(size: int) -> None:
    words = f"It is {HIDDEN}, ü."
    events = [words[at : at + 3] for at in range(0, len(words), 3)]
    stream = "".join(f"data: {json.dumps({'choices': [{'delta': {'content': one}}]})}\n\n" for one in events)
    stream += f"data: {json.dumps({'whole': HIDDEN})}\n\ndata: [DONE]\n\n"
    data = stream.encode()
    pieces = [(at, data[at : at + size]) for at in range(0, len(data), size)]
    kept = hide_secrets(pieces, (HIDDEN,))
    text = b"".join(piece for _, piece in kept).decode()
    found = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data: {")]
    said = "".join(one["choices"][0]["delta"]["content"] for one in found if "choices" in one)
    assert said == "It is [redacted], ü."
    assert found[-1] == {"whole": "[redacted]"}
    assert [ms for ms, _ in kept] == sorted(ms for ms, _ in kept)
    assert text.endswith("data: [DONE]\n\n")


def test_a_key_that_a_stream_cuts_in_pieces_is_found() -> None:
    key = "ghp_" + "a1B2" * 9
    chunks = [[at, f"data: {json.dumps({'delta': key[at : at + 5]})}\n\n"] for at in range(0, len(key), 5)]
    line = json.dumps({"kind": "attempt", "chunks": chunks})
    assert key not in line
    assert key_in(line) == "github-token"
    assert key_in(json.dumps({"kind": "attempt", "chunks": chunks[:2]})) == ""


@pytest.mark.parametrize("chunk", [lambda data: data.decode(), lambda data: {"base64": b64encode(data).decode()}])
def test_a_key_in_an_answer_that_is_no_stream_is_found_however_it_is_cut(chunk: Callable[[bytes], object]) -> None:
    data = json.dumps({"error": {"message": f"refused: ghp_{'a1B2' * 9}, ü"}}, indent=1).encode()
    for size in (11, 30, len(data)):
        pieces = [[at, chunk(data[at : at + size])] for at in range(0, len(data), size)]
        assert key_in(json.dumps({"kind": "attempt", "chunks": pieces})) == "github-token"


def verification() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 10, "certificate has expired"
    return error


@pytest.mark.parametrize(
    "cause",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        verification(),
        TimeoutError("timed out"),
        None,
    ],
    ids=str,
)
def test_an_error_of_the_network_is_rebuilt_with_what_is_behind_it(cause: Exception | None) -> None:
    error = httpx.ConnectError("all failed")
    error.__cause__ = cause
    again = rebuilt(json.loads(json.dumps({"error": described(error)})))
    assert (type(again), str(again)) == (httpx.ConnectError, "all failed")
    found, known = list(root_causes(again)), list(root_causes(error))
    assert [type(one) for one in found] == [type(one) for one in known]
    for name in ("errno", "verify_code", "verify_message"):
        assert [getattr(one, name, None) for one in found] == [getattr(one, name, None) for one in known]


async def test_a_replay_does_not_wait_between_attempts_unless_asked_to(tmp_path: Path) -> None:
    write_cassette(tmp_path / "a")
    lane = ReplayLane(CassetteReplay(tmp_path / "a"))
    with anyio.fail_after(20):
        await lane.pause(3600)
    waits = ReplayLane(CassetteReplay(tmp_path / "a", timing="real"))
    with anyio.move_on_after(0.05) as scope:
        await waits.pause(3600)
    assert scope.cancelled_caught


def test_a_replay_without_a_temporary_folder_has_its_ledger_in_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", missing)
    ReplayLedger(spent_nano=0, pause_s=0.0, state_dir=tmp_path)
    assert [path.name[:16] for path in tmp_path.iterdir()] == ["agentctl-replay-"]
    with pytest.raises(StateError, match="the ledger of the replay cannot be created: no such file"):
        ReplayLedger(spent_nano=0, pause_s=0.0, state_dir=tmp_path / "missing")
