"""Runs whose answer has a schema: a large one, near a limit, interrupted, gone on with, inside a run, and compared.

Every turn for the schema is one of the run: it is held, it counts in the run and in those above it, and it is recorded.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core.answer_schema import MOST_BYTES, read_answer_schema
from tests.bill.test_bill_schema import (
    CASES,
    LINE,
    RIGHT,
    SCHEMA,
    VALUE,
    WRONG,
    Case,
    User,
    bodies,
    is_held,
    last_text,
    mind,
    someone,  # noqa: F401 - a fixture
)
from tests.support.bill.book import book_of
from tests.support.bill.nests import OUTER, inner, is_outer, scopes
from tests.support.bill.parts import (
    KEY,
    PAID,
    PENNY,
    TASK,
    assert_accounted,
    assert_told,
    assert_within,
    reaching,
)
from tests.support.command_line import Commands, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, Rates, Step, WireRequest

Cli = Callable[..., Ended]
FIELDS = "used:int,note:string"
PATIENCE_S = 60.0
#: Just below the most bytes that are taken, with keys and words outside of ASCII.
LARGE = read_answer_schema(
    {
        "type": "object",
        "properties": {"benützt": {"type": "integer"}, "備考": {"type": "string", "description": "ß漢e\u0301" * 7_900}},
        "required": ["benützt", "備考"],
        "additionalProperties": False,
    }
)


def by_bytes(case: Case, *answers: str) -> Callable[[WireRequest], Step]:
    """Bill a token for each byte of a request as it was sent."""
    answer = mind(case.paid, *answers)

    def step(asked: WireRequest) -> Step:
        said = answer(asked)
        assert isinstance(said, Answer)
        size = len(json.dumps(asked.body, ensure_ascii=False).encode())
        return Answer(said.text, said.calls, input_tokens=size, output_tokens=100)

    return step


def counted(answer: Callable[[WireRequest], Step]) -> Callable[[WireRequest], Step]:
    """Report as many tokens as a request and its answer are likely to have."""

    def step(asked: WireRequest) -> Step:
        said = answer(asked)
        assert isinstance(said, Answer)
        return replace(said, input_tokens=None, output_tokens=None)

    return step


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take one wire in words and one that is held to the schema; with ``--full``, each."""
    if "case" in metafunc.fixturenames:
        names = list(CASES) if metafunc.config.getoption("full") else ["openai in words", "anthropic"]
        metafunc.parametrize("case", [CASES[name] for name in names], ids=names)


async def test_large_schema_is_bounded_to_the_last_retry(someone: User, wire: OpenWire, case: Case) -> None:  # noqa: F811
    assert 60_000 < len(LARGE.text.encode()) <= MOST_BYTES
    wrong = '{"benützt": "viel", "備考": "halb"}'
    if case.paid is PENNY:  # its window would be too small
        case = case._replace(paid=PENNY._replace(model="gpt-4.1", rates=Rates(Decimal(2), Decimal(8))))
    server = wire(
        by_bytes(case, *([] if case.with_tools else ["Half of it."]), wrong), rates=case.paid.rates, keys=[KEY]
    )
    limit = 4_000_000_000
    found = await someone.ask(
        server,
        case.paid,
        schema=LARGE,
        retries=50,
        max_cost_per_task="4",
        max_tokens_per_task="none",
        max_context_tokens=300_000,
    )
    assert (found["exit_code"], found["error"]["kind"], found["structured"]) == (3, "budget", None), found["error"]
    assert (found["breaker"]["limit"], found["error"]["message"][:20]) == ("max_cost_per_task", "max_cost_per_task is")
    assert "\n- /benützt: " in last_text(server)
    assert len(server.books.chat_requests) > 3, "it came to retries"
    assert_accounted(server.books, someone.book)
    assert_within(server.books, someone.book, limit)
    assert_told(found, someone.book)


async def test_retry_counts_a_schema_twice_that_the_provider_shows_to_the_model(
    someone: User,  # noqa: F811
    wire: OpenWire,
) -> None:
    """In a turn without tools it is in words, too."""
    sizes = list[list[int]]()
    server = wire([], rates=PENNY.rates, keys=[KEY])
    for schema in (SCHEMA, read_answer_schema({**SCHEMA.document, "description": "word " * 800})):
        server.play(counted(mind(PENNY, WRONG, RIGHT)))
        found = await someone.ask(server, PENNY, schema=schema, max_tokens_per_task="none")
        assert found["status"] == "done", found["error"]
        lines = (someone.state / "runs" / f"{found['run_id']}.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        sizes.append([event["tokens"] for event in events if event["event"] == "context_measured"])
    looking, answering, again = [late - early for early, late in zip(*sizes, strict=True)]
    assert looking > 800
    assert round(answering / looking, 1) == 1.0
    assert round(again / looking, 1) == 2.0


async def test_large_schema_that_no_turn_has_room_for_costs_nothing(
    someone: User,  # noqa: F811
    wire: OpenWire,
) -> None:
    for case in CASES.values():
        server = wire(mind(case.paid, "Half of it."), rates=case.paid.rates, keys=[KEY])
        found = await someone.ask(server, case.paid, schema=LARGE)
        assert (found["exit_code"], server.books.chat_requests) == (7, ()), found["error"]
        said = "does not fit the 12,288 tokens" if case.paid is PAID["ollama"] else "the schema of the answer: "
        assert said in found["error"]["message"]
        assert found["error"]["hint"].endswith(", or shorten the schema")


def test_estimate_refuses_a_schema_that_no_turn_has_room_for(command: Callable[..., Ended], wire: OpenWire) -> None:
    paid = PAID["openai"]
    ended = command("--estimate", "--schema", LARGE.text, env=reaching(wire([]), "openai") | {"LLM_MODEL": paid.model})
    assert (ended.code, ended.out) == (7, "")
    assert ended.err.rstrip().endswith(", or shorten the schema")


async def test_interrupted_retry_is_in_doubt_and_asked_once_more(shell: Commands, state: Path, wire: OpenWire) -> None:
    """Its tries count, and the schema is the one that it had, whatever has become of its file."""
    paid = PENNY._replace(input_tokens=900, output_tokens=30)

    def stalling(asked: WireRequest) -> Step:
        spoken = sum(message.role == "assistant" for message in asked.messages)
        return [paid.answer("Looking.", (Call("system_memory"),)), paid.answer(WRONG), paid.answer(WRONG, stall=True)][
            spoken
        ]

    server = wire(stalling, rates=paid.rates, keys=[KEY])
    (shell.folder / "s.json").write_text(SCHEMA.text)
    environ = reaching(server, "openai") | {"LLM_MODEL": paid.model}
    words = ("run", TASK, "--schema", "s.json", "--json", "--max-tokens", "none")
    with shell.start(*words, env=environ) as process:
        assert server.books.wait(lambda books: len(books.entries) == 3, PATIENCE_S)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    document = json.loads(out)
    assert (process.returncode, document["status"], document["structured"]) == (130, "interrupted", None), err
    assert book_of(state).phases == ["settled", "settled", "doubt"]
    assert f"agentctl runs resume {document['run_id'][:6]}" in err.decode()
    assert_accounted(server.books, book_of(state))

    (shell.folder / "s.json").unlink()
    server.play([paid.answer(WRONG), paid.answer(RIGHT)])
    again = shell("runs", "resume", document["run_id"], "--json", **environ)
    assert (again.code, again.document["structured"], again.document["turns"]) == (0, VALUE, 4), again.err
    *_, stalled, asked, _ = [body["messages"] for body in bodies(server)]
    assert asked == stalled
    assert "asking again, 2 of 2" in again.err, "a try that was made before counts"
    assert_accounted(server.books, book_of(state))


def test_forked_run_keeps_its_tries_and_has_a_limit_of_its_own(cli: Cli, state: Path, wire: OpenWire) -> None:
    paid = PAID["anthropic"]
    server = wire(mind(paid, WRONG), rates=paid.rates, keys=[KEY])
    retries = ("--schema-retries", "9", "--max-tokens", "none")
    tripped = cli(server, "run", TASK, "--schema", FIELDS, *retries, "--json", "--max-cost", "0.18", paid=paid)
    run_id, spent = tripped.document["run_id"], server.books.billed_nano
    assert (tripped.code, tripped.document["structured"]) == (3, None), tripped.err
    tries = tripped.err.count("asking again, ")
    assert tries > 0

    server.play(mind(paid, WRONG, RIGHT))
    forked = cli(server, "runs", "resume", run_id, "--fork", "--json", "--max-cost", "0.30", paid=paid)
    document = forked.document
    assert (forked.code, document["structured"], document["resumed_from"]) == (0, VALUE, run_id), forked.err
    assert f"asking again, {tries + 1} of 9" in forked.err
    assert document["run_id"] != run_id
    assert round(document["limits"]["max_cost_per_task"]["used"] * 10**9) == server.books.billed_nano - spent
    assert_accounted(server.books, book_of(state))
    again = cli(server, "runs", "resume", run_id, "--json", "--max-cost", "0.60", paid=paid)
    assert (again.code, again.document["structured"], again.document["run_id"]) == (0, VALUE, run_id), again.err
    assert again.document["limits"]["max_cost_per_task"]["limit"] == 0.6, "the limit is a total"


@pytest.mark.parametrize(
    ("first", "second"), [("openai", "ollama"), ("openai in words", "anthropic")], ids=["to words", "to native"]
)
def test_fallback_is_asked_by_its_own_means_and_tries_go_on(
    command: Callable[..., Ended], state: Path, wire: OpenWire, first: str, second: str
) -> None:
    """The first fails after its wrong answer; what the second says counts as the next try."""
    case, other = CASES[first], CASES[second]._replace(paid=CASES[second].paid._replace(input_tokens=900))
    answers = [WRONG] if case.with_tools else ["Half of it.", WRONG]
    failing = wire(mind(case.paid, *answers, Fault(code="insufficient_quota")), rates=case.paid.rates, keys=[KEY])
    server = wire(mind(other.paid, WRONG, RIGHT), rates=other.paid.rates, keys=[KEY])
    environ = reaching(server, other.paid.format) | reaching(failing, "openai") | {"LLM_PROVIDER": "openai"}
    environ |= {"LLM_MODEL": case.paid.model, "LLM_FALLBACKS": f"{other.paid.format}/{other.paid.model}"}
    ended = command("--schema", FIELDS, "--json", "--max-cost", "2", "--max-tokens", "none", env=environ)
    assert (ended.code, ended.document["structured"]) == (0, VALUE), ended.err
    assert [one["taken"] for one in ended.document["fallbacks"]] == [f"{other.paid.format}/{other.paid.model}"]
    assert "asking again, 1 of 2" in ended.err
    assert "asking again, 2 of 2" in ended.err
    assert [is_held(body) for body in bodies(server)] == [True, True], "without tools each of both is held to it"
    book = book_of(state)
    assert book.nano("settled") == failing.books.billed_nano + server.books.billed_nano
    assert ended.document["cost"]["nano_usd"] == book.nano("settled")


@pytest.mark.parametrize(
    ("first", "second", "said", "held"),
    [
        ("openai", "ollama", ["Half of it.", RIGHT], [False, True]),
        ("openai in words", "anthropic", [RIGHT], [True]),
    ],
    ids=["to words", "to native"],
)
def test_fallback_in_a_turn_with_tools_answers_by_its_own_means(
    command: Callable[..., Ended], wire: OpenWire, first: str, second: str, said: list[str], held: list[bool]
) -> None:
    """What the second says in its own words is no try; if it is held to the schema, its first answer counts."""
    case, other = CASES[first], CASES[second]._replace(paid=CASES[second].paid._replace(input_tokens=900))
    failing = wire(mind(case.paid, Fault(code="insufficient_quota")), rates=case.paid.rates, keys=[KEY])
    server = wire(mind(other.paid, *said), rates=other.paid.rates, keys=[KEY])
    environ = reaching(server, other.paid.format) | reaching(failing, "openai") | {"LLM_PROVIDER": "openai"}
    environ |= {"LLM_MODEL": case.paid.model, "LLM_FALLBACKS": f"{other.paid.format}/{other.paid.model}"}
    ended = command("--schema", FIELDS, "--json", "--max-cost", "2", "--max-tokens", "none", env=environ)
    assert (ended.code, ended.document["structured"]) == (0, VALUE), ended.err
    assert "asking again" not in ended.err
    assert [is_held(body) for body in bodies(server)] == held


def test_run_with_a_schema_inside_a_run_spends_from_the_limit_of_both(
    shell: Commands, state: Path, tmp_path: Path, wire: OpenWire
) -> None:
    environ = dict[str, str]()
    look = mind(PENNY, WRONG)

    def step(asked: WireRequest) -> Step:
        if not is_outer(asked):
            return look(asked)
        if any(said.role == "tool" for said in asked.messages):
            return PENNY.answer("It has ended.")
        more = ("--schema", FIELDS, "--schema-retries", "50", "--max-cost", "5", "--max-tokens", "none")
        return PENNY.answer("Starting it.", (Call("run_shell", {"command": inner(environ, *more), "timeout": 120}),))

    server = wire(step, rates=PENNY.rates, keys=[KEY])
    environ |= reaching(server, "openai") | {"LLM_MODEL": PENNY.model}
    outer = shell(
        *("run", OUTER, "--json", "--max-cost", "0.10", "--sandbox", "none", "--yes", "--agent", "system"), **environ
    )
    document = json.loads((tmp_path / "inner.json").read_text())
    first = outer.document["run_id"]
    assert scopes(state) == {first: None, document["run_id"]: first}
    assert (document["exit_code"], document["structured"], document["breaker"]["run_id"]) == (3, None, first)
    assert "asking again, 2 of 50" in (tmp_path / "inner.err").read_text()
    assert document["cost"]["nano_usd"] + outer.document["cost"]["nano_usd"] == server.books.billed_nano
    assert_within(server.books, book_of(state), 100_000_000)


def test_run_with_retries_is_shown_exported_compared_and_repriced(cli: Cli, state: Path, wire: OpenWire) -> None:
    paid = PAID["anthropic"]
    server = wire([], rates=paid.rates, keys=[KEY])

    def run(schema: str, *answers: str) -> str:
        server.play(mind(paid, *answers))
        ended = cli(server, "run", TASK, "--schema", schema, "--json", "--max-tokens", "none", paid=paid)
        return str(ended.document["run_id"])

    once, twice, other = run(FIELDS, RIGHT), run(FIELDS, WRONG, RIGHT), run("used:int", '{"used": 7}')
    shown = cli(server, "runs", "show", twice).out
    assert shown.count("asking again, ") == 1
    assert f"answer:\n{LINE}\n" in shown
    for form in ("md", "html", "json"):
        out = cli(server, "runs", "export", twice, "--format", form, "-o", "-").out
        assert "That is not an answer by the schema:" in out
    transcript = cli(server, "runs", "export", twice, "--format", "json").document
    assert (transcript["answer"], transcript["turns_in_all"]) == (LINE, 3)
    assert [sum(call["nano_usd"] for call in turn["calls"]) for turn in transcript["turns"]] == [40_000_000] * 3

    def differences(a: str, b: str) -> list[str]:
        found: list[str] = cli(server, "runs", "diff", a, b, "--json").document["differences"]
        return found

    assert not {name for name in differences(once, twice) if not name.startswith("amounts.")}
    assert "digests.schema" in differences(once, other)
    assert "digests.schema" not in differences(once, twice)
    repriced = cli(server, "ledger", "reprice", "--run", twice, "--json").document
    assert [repriced["total"][name] for name in ("calls", "charged_usd", "repriced_usd")] == [3, 0.12, 0.12]
