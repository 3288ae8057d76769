"""A server of this host that is silent before its first token, seen from the command line."""

from __future__ import annotations

import pytest

from tests.support.bill.parts import reaching
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Answer


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
