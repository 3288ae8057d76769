"""Servers of this host, seen from the command line: silent before the first token, without tools, without the model."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal

import pytest

from tests.support.bill.parts import reaching
from tests.support.command_line import Commands, Ended
from tests.support.holding_proxy import HoldingProxy
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Answer, WireRequest
from tests.support.wire.server import Rates


@pytest.mark.parametrize("format", ["openai", "ollama", "anthropic"])
def test_a_timeout_that_the_user_set_holds_and_the_request_is_sent_once(
    wire: OpenWire, agentctl: Commands, format: str
) -> None:
    server = wire(Answer("late", pause_s=20), repeat=True)
    env = reaching(server, format)
    ended = agentctl("run", "--llm-timeout", "1s", "say hello", **env)
    assert (ended.code, ended.out) == (4, "")
    assert f"error: {format} sent nothing for 1 s" in ended.err
    assert "raise --llm-timeout" in ended.err
    assert len(server.books.chat_requests) == 1
    assert "trying again" not in ended.err


def test_a_run_with_a_model_without_tools_looks_and_answers(wire: OpenWire, agentctl: Commands) -> None:
    """The whole way: the tool runs, its result reaches the model, and no JSON reaches the user."""

    def mind(asked: WireRequest) -> Answer:
        if not asked.body.get("format"):
            return Answer("no format")
        has_result = any(said.text.startswith("Result of system_memory:") for said in asked.messages)
        said = {"answer": "Half is used."} if has_result else {"tool": "system_memory", "arguments": {}}
        return Answer(json.dumps(said))

    server = wire(mind, capabilities=("completion",), rates=Rates(Decimal(0), Decimal(0)), repeat=True)
    env = reaching(server, "ollama")
    ended = agentctl("run", "--json", "How much memory is used?", **env)
    assert ended.code == 0, ended.err
    assert ended.document["answer"] == "Half is used."
    assert ended.document["tools"] == [{"name": "system_memory", "calls": 1, "failed": 0}]
    lines = agentctl("run", "-o", "jsonl", "How much memory is used?", **env).lines
    assert not [line for line in lines if line["event"] == "answer_streamed" and "{" in line["text"]]


def test_a_model_that_is_not_pulled_ends_with_the_line_to_type(wire: OpenWire, agentctl: Commands) -> None:
    server = wire(Answer("x"), models=("llama3.1",), rates=Rates(Decimal(0), Decimal(0)))
    env = reaching(server, "ollama") | {"LLM_MODEL": "qwen2.5:7b"}
    ended = agentctl("run", "say hello", **env)
    assert (ended.code, ended.out) == (69, "")
    assert "ollama pull qwen2.5:7b" in ended.err


HELD_S = {True: 65.0, False: 1.0}


def test_a_first_token_after_more_than_a_minute_is_an_answer_through_both_clients(
    wire: OpenWire, agentctl: Commands, is_full: bool
) -> None:
    """With ``--full`` the first byte comes after 65 s, which ended a run before; else after a second, by one client.

    ``LLAMA_SERVER=http://127.0.0.1:8080`` puts a real llama.cpp behind the proxy, which answers what it likes.
    """
    real = os.environ.get("LLAMA_SERVER", "")
    agentctl.patience_s = 400.0
    free = Rates(Decimal(0), Decimal(0))
    server = wire(Answer("Half of it is used."), rates=free, repeat=True)
    with (
        HoldingProxy(real or server.url, HELD_S[is_full]) as openai,
        HoldingProxy(server.url, HELD_S[is_full]) as ollama,
    ):
        own = {"kind": "openai", "base_url": f"{openai.url}/v1", "price": "0", "model": "small"}
        for line, value in own.items():
            assert agentctl("config", "set", f"providers.lab.{line}", value).code == 0
        runs: dict[tuple[str, str], Future[Ended]] = {}
        with ThreadPoolExecutor() as pool:
            for via in ("lean", "litellm") if is_full else ("lean",):
                words = (
                    "run",
                    "--via",
                    via,
                    "--json",
                    "--tools",
                    "system_memory",
                    "--max-output-tokens",
                    "40",
                    "How much memory is used?",
                )
                runs["lab", via] = pool.submit(agentctl, *words, LLM_PROVIDER="lab", LLM_CLIENT=via)
                runs["ollama", via] = pool.submit(agentctl, *words, **reaching(ollama, "ollama"), LLM_CLIENT=via)
        for name, run in runs.items():
            ended = run.result()
            assert ended.document["turns"] >= 1, (name, ended.err)
            assert ended.document["answer"], (name, ended.err)
            if not (real and name[0] == "lab"):
                assert (ended.code, ended.document["answer"]) == (0, "Half of it is used."), (name, ended.err)
            assert ended.document["client"] == name[1]
            assert ("waiting for the first token, 1 min 00 s" in ended.err) is is_full, (name, ended.err)
            assert "retrying" not in ended.err
        assert ollama.asked == len(runs) // 2
