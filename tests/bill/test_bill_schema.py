"""Answers by a schema on each wire: what is asked, what comes back, and that every turn for it is held and paid."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentctl.cli.documents import run_document
from agentctl.core.answer_schema import AnswerSchema, read_answer_schema
from agentctl.journal.lock import lock_journal
from agentctl.journal.replay import read_past
from agentctl.ledger.forecast import forecast_first_call
from agentctl.runner.agent_spec import load_agents
from agentctl.runner.assemble import assemble, make_provider, plan_of
from agentctl.runner.estimate import Estimate, estimate
from agentctl.runner.resumption import Resumption
from agentctl.runner.toolset import toolset_for
from agentctl.settings import Loaded, choose_provider, load_settings
from tests.support.bill.parts import (
    CLIENT_VARIABLE,
    KEY,
    PAID,
    PENNY,
    TASK,
    Document,
    Here,
    Paid,
    assert_accounted,
    assert_told,
    priced,
    reaching,
    this_client,
)
from tests.support.output_schemas import validate
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, Rates, Step, WireRequest, WireServer

SCHEMA = read_answer_schema("used:int,note:string")
RIGHT = '{"used": 7, "note": "half"}'
LINE = '{"used":7,"note":"half"}'
VALUE = {"used": 7, "note": "half"}
WRONG = '{"used": "much", "note": "half"}'
MEMORY = (Call("system_memory"),)


class Case(NamedTuple):
    """A model on a wire, and the field by which it is held to a schema in requests with tools, and without."""

    paid: Paid
    with_tools: str = ""
    without: str = ""


CASES = {
    "openai in words": Case(PAID["openai"]),
    "openai": Case(PENNY, "response_format", "response_format"),
    "anthropic": Case(PAID["anthropic"], "output_config", "output_config"),
    "ollama": Case(PAID["ollama"], "", "format"),
}
each_wire = pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))


@dataclass(frozen=True, slots=True)
class User(Here):
    """A user whose runs have a schema."""

    async def ask(
        self,
        server: WireServer,
        paid: Paid,
        *,
        schema: AnswerSchema = SCHEMA,
        retries: int = 2,
        task: str = TASK,
        goes_on: str = "",
        words: str = "",
        **flags: object,
    ) -> Document:
        """Run a task in this process, or go on with the run of id ``goes_on``; return its document."""
        loaded = self.settings(server, paid, flags)
        choice = choose_provider(loaded)
        plan = plan_of(loaded, choice, labels={})._replace(answer_schema=schema, schema_retries=retries)
        path = loaded.settings.runs_dir / f"{goes_on}.jsonl"
        resumption = Resumption(read_past(path), words=words) if goes_on else None
        if resumption is not None:
            resumption.refuse_pointless(plan.loop.max_turns)
        locked = lock_journal(path) if goes_on else None
        run = assemble(loaded, choice, plan=plan, resumption=resumption, locked=locked)
        document = dict(run_document(await run.run(task)))
        validate(document)
        return document

    def settings(self, server: WireServer, paid: Paid, flags: Mapping[str, object]) -> Loaded:
        """Return the settings of a user of one provider, which is the server."""
        self.folder.mkdir(exist_ok=True)
        folders = {f"AGENTCTL_{kind.upper()}_DIR": str(self.folder / kind) for kind in ("state", "config", "cache")}
        environ = {"AGENTCTL_SANDBOX": "none", CLIENT_VARIABLE: this_client(), **folders}
        return load_settings(
            flags=flags,
            environ={**environ, **reaching(server, paid.format), "LLM_MODEL": paid.model},
            cwd=self.folder,
            config=priced(self.folder),
            remember=False,
        )

    async def estimate(self, server: WireServer, paid: Paid) -> Estimate:
        """Estimate the run that ``ask`` makes, with the facts of its provider."""
        loaded = self.settings(server, paid, {})
        choice = choose_provider(loaded)
        plan = plan_of(loaded, choice, labels={})._replace(answer_schema=SCHEMA)
        return await estimate(
            TASK,
            plan=plan,
            agents=load_agents(),
            facts=make_provider(loaded, choice, plan.limits).facts,
            make_tools=toolset_for(loaded, plan.permissions, require_sandbox=False),
            forecast_call=lambda ask, agent: forecast_first_call(
                loaded.settings.ledger_path, ask, plan.limits, agent=agent
            ),
            now=lambda: datetime.now(UTC),
        )


@pytest.fixture
def someone(tmp_path: Path) -> User:
    return User(tmp_path / "user")


def mind(paid: Paid, *answers: str | Answer | Fault) -> Callable[[WireRequest], Step]:
    """Look at the memory once, then give one of the answers after the other, the last one for ever."""
    said = list(answers)

    def answer(asked: WireRequest) -> Step:
        if not any(message.role == "tool" for message in asked.messages):
            return paid.answer("Looking.", MEMORY)
        step = said.pop(0) if len(said) > 1 else said[0]
        return paid.answer(step) if isinstance(step, str) else step

    return answer


def bodies(server: WireServer) -> list[Mapping[str, Any]]:
    return [heard.body for heard in server.books.chat_requests if heard.body is not None]


def fields_of(server: WireServer, case: Case) -> list[tuple[bool, bool]]:
    """Return of each request whether it offers tools, and whether its answer is held to the schema by the provider."""
    return [(offers_tools(body), is_held(body)) for body in bodies(server)]


def last_text(server: WireServer) -> str:
    """Return the text of the last message of the last request."""
    asked = [heard.asked for heard in server.books.chat_requests if heard.asked is not None][-1]
    return asked.messages[-1].text


def is_held(body: Mapping[str, Any]) -> bool:
    """Return whether a request asks the provider to hold its answer to a schema; litellm has another name for it."""
    return any(name in body for name in ("response_format", "output_config", "output_format", "format"))


def offers_tools(body: Mapping[str, Any]) -> bool:
    return bool(body.get("tools")) and "no_tool" not in json.dumps(body["tools"])


@each_wire
async def test_right_answer_is_one_line_of_json(someone: User, wire: OpenWire, case: Case) -> None:
    server = wire(mind(case.paid, RIGHT), rates=case.paid.rates, keys=[KEY])
    found = await someone.ask(server, case.paid)
    assert (found["status"], found["answer"], found["structured"], found["complete"]) == ("done", LINE, VALUE, True)
    assert fields_of(server, case) == [(True, bool(case.with_tools))] * 2
    assert_accounted(server.books, someone.book)
    assert_told(found, someone.book)


@each_wire
async def test_wrong_answer_goes_back_with_its_pointers(someone: User, wire: OpenWire, case: Case) -> None:
    server = wire(mind(case.paid, "Half of it.", WRONG, RIGHT), rates=case.paid.rates, keys=[KEY])
    found = await someone.ask(server, case.paid, max_tokens_per_task=None)
    assert (found["status"], found["answer"], found["structured"]) == ("done", LINE, VALUE)
    *looking, words, wrong = fields_of(server, case)
    assert looking == [(True, bool(case.with_tools))] * 2
    assert words == wrong == (False, bool(case.without))
    last = last_text(server)
    assert "\n- /used: " in last
    assert last.endswith(f"\n{SCHEMA.text}")
    assert found["turns"] == 4
    assert_accounted(server.books, someone.book)
    assert_told(found, someone.book)


@each_wire
async def test_answer_that_is_never_right_fails_with_its_last_text(someone: User, wire: OpenWire, case: Case) -> None:
    server = wire(mind(case.paid, WRONG), rates=case.paid.rates, keys=[KEY])
    found = await someone.ask(server, case.paid, retries=1, max_tokens_per_task=None)
    assert (found["exit_code"], found["error"]["kind"], found["structured"]) == (1, "schema", None)
    assert (found["complete"], found["answer"]) == (False, WRONG)
    assert "not valid by the schema after 1 retry: /used: " in found["error"]["message"]
    first = 1 if case.with_tools else 2  # of the answers, that was asked for by the schema
    assert len(server.books.chat_requests) == 1 + first + 1
    assert_accounted(server.books, someone.book)
    assert_told(found, someone.book)


@each_wire
async def test_no_retry_is_made_if_none_is_wanted(someone: User, wire: OpenWire, case: Case) -> None:
    server = wire(mind(case.paid, WRONG), rates=case.paid.rates, keys=[KEY])
    found = await someone.ask(server, case.paid, retries=0)
    assert (found["exit_code"], found["error"]["kind"]) == (1, "schema")
    assert found["error"]["message"].startswith("the answer is not valid by the schema: /used: ")
    assert len(server.books.chat_requests) == (2 if case.with_tools else 3)


@each_wire
async def test_cut_answer_fails_and_is_not_sent_back(someone: User, wire: OpenWire, case: Case) -> None:
    cut = case.paid.answer('{"used": 7, "no', stop="max_tokens" if case.paid.format == "anthropic" else "length")
    server = wire(mind(case.paid, "Half.", cut) if not case.with_tools else mind(case.paid, cut), keys=[KEY])
    found = await someone.ask(server, case.paid, max_output_tokens=4096, max_tokens_per_task=None)
    assert (found["exit_code"], found["error"]["kind"], found["structured"]) == (1, "schema", None)
    assert (found["answer"], found["complete"]) == ('{"used": 7, "no', False)
    assert "cut at its output limit" in found["error"]["message"]
    assert not any("not an answer by the schema" in json.dumps(body) for body in bodies(server))
    assert_accounted(server.books, someone.book)


@each_wire
async def test_limit_before_the_answer_trips(someone: User, wire: OpenWire, case: Case) -> None:
    server = wire(mind(case.paid, "Half of it.", WRONG), rates=case.paid.rates, keys=[KEY])
    found = await someone.ask(server, case.paid, retries=50, max_cost_per_task="0.30", max_tokens_per_task=None)
    assert (found["exit_code"], found["breaker"]["limit"], found["structured"]) == (3, "max_cost_per_task", None)
    assert_accounted(server.books, someone.book)
    assert server.books.billed_nano <= someone.book.most_nano <= 300_000_000


REFUSALS = {
    "openai": b'{"error":{"message":"Invalid schema for response_format \'answer\': In context=(), \'x\' is not'
    b' permitted.","type":"invalid_request_error","param":"response_format","code":null}}',
    "anthropic": b'{"type":"error","error":{"type":"invalid_request_error","message":"output_config.format: Extra '
    b'inputs are not permitted"}}',
    "ollama": b'{"error":"invalid JSON schema in format"}',
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", list(REFUSALS))
async def test_refused_schema_is_asked_for_in_words_and_costs_nothing(someone: User, wire: OpenWire, name: str) -> None:
    case = CASES[name]._replace(paid=CASES[name].paid._replace(input_tokens=500))
    refusal, rest = Fault(400, body=REFUSALS[name]), mind(case.paid, "Half of it.", RIGHT)

    def step(asked: WireRequest) -> Step:
        return refusal if is_held(asked.body) else rest(asked)

    server = wire(step, rates=case.paid.rates, keys=[KEY])
    found = await someone.ask(server, case.paid, max_tokens_per_task=None)
    assert (found["status"], found["structured"]) == ("done", VALUE)
    assert sum(held for _, held in fields_of(server, case)) == 1  # it is not tried again
    assert last_text(server).endswith(f"\n{SCHEMA.text}")
    assert sorted(someone.book.phases) == sorted(["void", *["settled"] * 3])
    assert_accounted(server.books, someone.book)
    assert_told(found, someone.book)


async def test_schema_beyond_the_providers_subset_is_asked_for_in_words(someone: User, wire: OpenWire) -> None:
    schema = read_answer_schema({"type": "object", "properties": {"used": {"type": "integer", "minimum": 1}}})
    server = wire(mind(PENNY, "Half.", '{"used": 0}', '{"used": 7}'), rates=PENNY.rates, keys=[KEY])
    found = await someone.ask(server, PENNY, schema=schema)
    assert (found["status"], found["structured"]) == ("done", {"used": 7})
    assert fields_of(server, CASES["openai"]) == [(True, False)] * 2 + [(False, False)] * 2
    assert last_text(server).endswith(f"\n{schema.text}")


async def test_refusal_by_the_model_fails_as_it_does_without_a_schema(someone: User, wire: OpenWire) -> None:
    server = wire(mind(PENNY, PENNY.answer("No.", stop="content_filter")), rates=PENNY.rates, keys=[KEY])
    found = await someone.ask(server, PENNY)
    assert (found["exit_code"], found["error"]["kind"], found["structured"]) == (1, "failed", None)


async def test_answer_in_a_fence_is_taken(someone: User, wire: OpenWire) -> None:
    server = wire(mind(PAID["openai"], f"```json\n{RIGHT}\n```"), rates=PAID["openai"].rates, keys=[KEY])
    found = await someone.ask(server, PAID["openai"])
    assert (found["answer"], len(server.books.chat_requests)) == (LINE, 2)


LIKE_A_CALL = read_answer_schema(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "arguments": {"type": "object", "additionalProperties": False}},
        "required": ["name"],
    }
)


def call_shaped(*more: str) -> AnswerSchema:
    """Return a schema that each provider takes, of objects that look like a tool call, with ``more`` texts."""
    return read_answer_schema(
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "arguments": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
                **{name: {"type": "string"} for name in more},
            },
            "required": ["name", "arguments", *more],
            "additionalProperties": False,
        }
    )


A_CALL = '{"name": "system_memory", "arguments": {}}'


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (SCHEMA, '{"used": 0, "note": "see system_memory"}'),
        (LIKE_A_CALL, A_CALL),
        (call_shaped(), A_CALL),
    ],
    ids=["names a tool", "looks like a call", "looks like a call in each subset"],
)
async def test_valid_answer_that_speaks_of_a_tool_is_the_answer(
    someone: User, wire: OpenWire, name: str, schema: AnswerSchema, answer: str
) -> None:
    case = CASES[name]
    said = [answer] if schema.fits("openai") and case.with_tools else ["Half of the memory is used.", answer]
    server = wire(mind(case.paid, *said), rates=case.paid.rates, keys=[KEY])
    found = await someone.ask(server, case.paid, schema=schema, max_tokens_per_task=None)
    assert (found["status"], found["structured"]) == ("done", json.loads(answer)), found["error"]
    assert found["tools"] == [{"name": "system_memory", "calls": 1, "failed": 0}]


@each_wire
@pytest.mark.parametrize(
    "wrong", [A_CALL, f"I will look. {A_CALL}", "<tool_call>\n{"], ids=["call", "beside", "broken"]
)
async def test_wrong_answer_that_looks_like_a_call_is_sent_back_and_not_made(
    someone: User, wire: OpenWire, case: Case, wrong: str
) -> None:
    right = '{"name": "system_memory", "arguments": {}, "why": "asked"}'
    said = [wrong, wrong, right] if case.with_tools else ["Half of the memory is used.", wrong, wrong, right]
    server = wire(mind(case.paid, *said), rates=case.paid.rates, keys=[KEY])
    found = await someone.ask(server, case.paid, schema=call_shaped("why"), max_tokens_per_task=None)
    assert (found["status"], found["structured"]) == ("done", json.loads(right)), found["error"]
    assert found["tools"] == [{"name": "system_memory", "calls": 1, "failed": 0}]
    assert last_text(server).startswith("That is not an answer by the schema:")


@each_wire
async def test_answer_that_stays_a_broken_call_fails_by_the_schema(someone: User, wire: OpenWire, case: Case) -> None:
    said = ["<tool_call>\n{"] if case.with_tools else ["Half of it.", "<tool_call>\n{"]
    server = wire(mind(case.paid, *said), rates=case.paid.rates, keys=[KEY])
    found = await someone.ask(server, case.paid, retries=1, max_tokens_per_task=None)
    assert (found["exit_code"], found["error"]["kind"], found["structured"]) == (1, "schema", None)
    assert "after 1 retry" in found["error"]["message"]


async def test_calls_in_the_turn_without_tools_are_not_made(someone: User, wire: OpenWire) -> None:
    paid = PAID["openai"]
    server = wire(mind(paid, "Half.", paid.answer("", MEMORY), RIGHT), rates=paid.rates, keys=[KEY])
    found = await someone.ask(server, paid, max_tokens_per_task=None)
    assert (found["status"], found["structured"]) == ("done", VALUE)
    assert found["tools"] == [{"name": "system_memory", "calls": 1, "failed": 0}]
    asked = sum(bool(message.get("tool_calls")) for message in bodies(server)[-1]["messages"])
    assert asked == 1, "no call stays in the conversation without a result"


async def test_turns_for_the_schema_are_beyond_the_turn_limit(someone: User, wire: OpenWire) -> None:
    paid = PAID["openai"]
    server = wire(mind(paid, "Half.", WRONG, RIGHT), rates=paid.rates, keys=[KEY])
    found = await someone.ask(server, paid, max_turns=2, max_tokens_per_task=None)
    assert (found["status"], found["structured"], found["turns"]) == ("done", VALUE, 4)


async def test_model_that_repeats_a_read_is_asked_for_the_schema_after_its_answer(
    someone: User, wire: OpenWire
) -> None:
    def step(asked: WireRequest) -> Step:
        if asked.tools:
            return PENNY.answer("Looking.", MEMORY)
        return PENNY.answer(RIGHT if SCHEMA.text in asked.messages[-1].text else "Half of it.")

    server = wire(step, rates=PENNY.rates, keys=[KEY])
    found = await someone.ask(server, PENNY, max_tokens_per_task=None)
    assert (found["status"], found["structured"], found["answer"]) == ("done", VALUE, LINE)
    assert last_text(server).startswith("Give your final answer"), "its answer in words is no try"
    assert_accounted(server.books, someone.book)


async def test_answer_without_a_look_is_sent_back_before_its_schema_counts(someone: User, wire: OpenWire) -> None:
    (someone.folder).mkdir()
    (someone.folder / "notes.txt").write_text("7")

    def step(asked: WireRequest) -> Step:
        looked = any(message.role == "tool" for message in asked.messages)
        told = sum(message.role == "assistant" for message in asked.messages)
        if not looked and told == 1:
            return PENNY.answer("Looking.", (Call("read_file", {"path": "notes.txt"}),))
        return PENNY.answer(RIGHT)

    server = wire(step, rates=PENNY.rates, keys=[KEY])
    found = await someone.ask(
        server, PENNY, task="What does notes.txt say?", agent="system", tools=("read_file",), workdir=someone.folder
    )
    assert (found["status"], found["structured"]) == ("done", VALUE)
    assert [tool["name"] for tool in found["tools"]] == ["read_file"]


@pytest.mark.parametrize("case", [CASES["openai in words"], CASES["anthropic"]], ids=["in words", "native"])
async def test_run_cut_off_anywhere_ends_as_its_twin_and_pays_nothing_twice(
    someone: User, wire: OpenWire, case: Case
) -> None:
    """Whatever record of it is the last, the resumed run asks for what it has no answer to, and has the same tries."""
    free = case.paid._replace(input_tokens=900, output_tokens=30)
    answers = [WRONG, WRONG, RIGHT] if case.with_tools else ["Half of it.", WRONG, RIGHT]

    def step(asked: WireRequest) -> Step:
        spoken = sum(message.role == "assistant" for message in asked.messages)
        return free.answer("Looking.", MEMORY) if not spoken else free.answer(answers[spoken - 1])

    server = wire(step, rates=free.rates, keys=[KEY])
    limits: dict[str, Any] = {"max_cost_per_task": "5", "max_tokens_per_task": None}
    whole = await someone.ask(server, free, **limits)
    assert (whole["status"], whole["turns"], len(server.books.chat_requests)) == ("done", 4, 4)
    path = someone.state / "runs" / f"{whole['run_id']}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    events = [json.loads(line)["event"] for line in lines]
    for end in range(events.index("message_added") + 2, len(lines)):
        if events[end - 1] not in ("answer_received", "message_added", "turn_started"):
            continue
        path.write_text("".join(lines[:end]))
        asked = len(server.books.chat_requests)
        found = await someone.ask(server, free, goes_on=whole["run_id"], max_turns=2, **limits)
        assert (found["answer"], found["structured"], found["turns"]) == (LINE, VALUE, 4), (end, events[end - 1])
        assert len(server.books.chat_requests) - asked == 4 - events[:end].count("answer_received"), events[:end]
    assert_accounted(server.books, someone.book)


async def test_tries_of_an_earlier_part_count(someone: User, wire: OpenWire) -> None:
    free = PENNY._replace(input_tokens=900, output_tokens=30)
    server = wire(mind(free, WRONG), rates=free.rates, keys=[KEY])
    whole = await someone.ask(server, free)
    assert (whole["exit_code"], len(server.books.chat_requests)) == (1, 4)
    path = someone.state / "runs" / f"{whole['run_id']}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    last = max(at for at, line in enumerate(lines) if json.loads(line)["event"] == "turn_started")
    path.write_text("".join(lines[: last + 1]))
    found = await someone.ask(server, free, goes_on=whole["run_id"])
    assert (found["error"]["kind"], len(server.books.chat_requests)) == ("schema", 5)
    assert "after 2 retries" in found["error"]["message"]


async def test_failed_run_gets_its_tries_anew(someone: User, wire: OpenWire) -> None:
    free = PENNY._replace(input_tokens=900, output_tokens=30)
    server = wire(mind(free, WRONG, WRONG, WRONG, WRONG, RIGHT), rates=free.rates, keys=[KEY])
    whole = await someone.ask(server, free)
    found = await someone.ask(server, free, goes_on=whole["run_id"])
    assert (whole["exit_code"], found["status"], found["structured"]) == (1, "done", VALUE)


async def test_another_schema_is_a_change(someone: User, wire: OpenWire) -> None:
    server = wire(mind(PENNY, WRONG), rates=PENNY.rates, keys=[KEY])
    whole = await someone.ask(server, PENNY, retries=0)
    other = read_answer_schema("used:int")
    found = await someone.ask(server, PENNY, schema=other, goes_on=whole["run_id"])
    assert (found["exit_code"], len(server.books.chat_requests)) == (2, 2)
    assert found["error"]["message"].endswith("the schema of the answer has changed")


BUILTIN = PENNY._replace(model="")
MEMORY_ROWS = {
    "type": "object",
    "properties": {
        "rows": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["memory", "used"]}}
    },
    "required": ["rows"],
}


async def test_rows_of_a_lookup_are_the_answer_of_builtin(someone: User, wire: OpenWire) -> None:
    schema = read_answer_schema(MEMORY_ROWS)
    found = await someone.ask(wire([]), BUILTIN, schema=schema, llm_provider="builtin")
    assert (found["status"], found["structured"]["rows"][0]["memory"]) == ("done", "RAM")
    assert json.loads(found["answer"]) == found["structured"]
    assert "\n" not in found["answer"]


async def test_rows_of_a_lookup_that_do_not_fit_are_a_failure(someone: User, wire: OpenWire) -> None:
    found = await someone.ask(wire([]), BUILTIN, llm_provider="builtin")
    assert (found["exit_code"], found["error"]["kind"], found["structured"]) == (1, "schema", None)
    assert found["error"]["hint"].startswith("its columns are memory, total, used")
    assert found["answer"].startswith("memory ")


@pytest.mark.usefixtures("litellm_is_loaded")
async def test_model_of_the_responses_format_is_held_to_the_schema(someone: User, wire: OpenWire) -> None:
    codex = Paid("openai", "gpt-5-codex", Rates(Decimal("1.25"), Decimal(10)), 1000, 300)
    server = wire(mind(codex, RIGHT), rates=codex.rates, keys=[KEY])
    found = await someone.ask(server, codex)
    assert (found["status"], found["structured"]) == ("done", VALUE)
    asked = [heard.body for heard in server.books.requests if heard.path.endswith("/responses") and heard.body]
    assert [body["text"]["format"]["schema"] for body in asked] == [SCHEMA.document] * 2
    assert_told(found, someone.book)


@each_wire
async def test_estimate_is_the_bound_of_the_first_request(someone: User, wire: OpenWire, case: Case) -> None:
    server = wire(mind(case.paid, RIGHT), rates=case.paid.rates, keys=[KEY])
    told = await someone.estimate(server, case.paid)
    await someone.ask(server, case.paid)
    assert told.most == someone.book.attempts[0].input_bound
    assert 0 < told.likely < told.most


@pytest.mark.parametrize(
    ("paid", "answers", "first"),
    [(PAID["openai"], ["Half.", RIGHT], 2), (PENNY, [RIGHT], 0)],
    ids=["in words", "native"],
)
async def test_schema_counts_from_the_first_request_on_that_carries_it(
    someone: User, wire: OpenWire, paid: Paid, answers: list[str], first: int
) -> None:
    small = paid._replace(input_tokens=900, output_tokens=30)
    server = wire(mind(small, *answers, *answers), rates=paid.rates, keys=[KEY])
    long = read_answer_schema({**SCHEMA.document, "description": "x" * 1500})
    for schema in (SCHEMA, long):
        assert (await someone.ask(server, small, schema=schema))["status"] == "done"
    for journal in (someone.state / "runs").glob("*.jsonl"):
        assert "x" * 1500 not in journal.read_text(), "the schema is no part of the conversation"
    bounds = [one.input_bound for one in someone.book.attempts]
    half = len(bounds) // 2
    more = [late - early for early, late in zip(bounds[:half], bounds[half:], strict=True)]
    assert more[first] >= 1500
    assert all(abs(one) < 50 for one in more[:first])


async def test_schema_counts_in_the_context(someone: User, wire: OpenWire) -> None:
    small, sizes = PENNY._replace(input_tokens=900, output_tokens=30), list[list[int]]()
    server = wire(mind(small, RIGHT), rates=PENNY.rates, keys=[KEY])
    for schema in (SCHEMA, read_answer_schema({**SCHEMA.document, "description": "word " * 300})):
        found = await someone.ask(server, small, schema=schema, max_context_tokens=20_000)
        lines = (someone.state / "runs" / f"{found['run_id']}.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        sizes.append([event["tokens"] for event in events if event["event"] == "context_measured"])
    assert [late - early > 250 for early, late in zip(*sizes, strict=True)] == [True, True]
