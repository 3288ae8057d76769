"""Every way that litellm takes to a provider passes our gate with the clamp in its bytes, and there is no other way."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import pytest

from agentctl.core.errors import ProviderUnavailable, UsageError
from agentctl.providers import litellm_loader
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import ROUTES
from tests.support.bill.bodies import spoken
from tests.support.formats import PS, answer_of, asked


class Nowhere(httpx.AsyncBaseTransport):
    """A network that keeps what it is given and is down."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        raise httpx.ConnectError("down", request=request)


class Offline(RemoteProvider):
    """A provider without a network."""

    nowhere: Nowhere

    def _connections(self) -> Any:  # noqa: ANN401 - not the network that it should be
        return self.nowhere


class _Ear:
    """Hears of every connection of this process, and refuses it while it listens."""

    def __init__(self) -> None:
        self.listens = False
        self.heard: list[object] = []
        sys.addaudithook(self)  # for good: a hook cannot be taken back

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.listens and event in ("socket.connect", "socket.getaddrinfo"):
            self.heard.append(arguments)
            raise OSError("no network in this test")


@cache
def _ear() -> _Ear:
    return _Ear()


@pytest.fixture
def no_network() -> Iterator[list[object]]:
    """Let nobody connect; give whom somebody tried to reach."""
    ear = _ear()
    ear.heard.clear()
    ear.listens = True
    yield ear.heard
    ear.listens = False


@pytest.mark.parametrize("name", sorted(ROUTES))
async def test_a_request_passes_the_gate_once_with_its_clamp(name: str, no_network: list[object]) -> None:
    await litellm_loader.wait_for_litellm()
    provider = Offline(name, "some-model", api_key="sk-0123456789", base_url="http://127.0.0.1:9/v1")
    provider.nowhere = Nowhere()
    with pytest.raises(ProviderUnavailable, match="cannot be reached") as caught:
        await answer_of(provider, asked(PS, clamp=321))
    assert caught.value.unsent
    (request,) = provider.nowhere.requests
    assert b"321" in request.content
    assert b"docker_ps" in request.content
    assert request.url.host == "127.0.0.1"
    assert no_network == []


class Speaking(Nowhere):
    """A network with one model in it, which says "Fine."."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = spoken({"content": "Fine."})
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)


@pytest.mark.parametrize("model", ["llama-3.3-70b-versatile", "command-r", "llama-2-7b"])
async def test_counting_an_answer_fetches_nothing(model: str, no_network: list[object]) -> None:
    await litellm_loader.wait_for_litellm()
    provider = Offline("groq", model, api_key="sk-0123456789", base_url="http://127.0.0.1:9/v1")
    provider.nowhere = Speaking()
    text, _ = await answer_of(provider, asked())
    assert text == "Fine."
    assert no_network == []


def test_the_ear_hears_a_connection(no_network: list[object]) -> None:
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 9))
    assert len(no_network) == 1


def test_provider_that_would_not_pass_the_gate_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="cannot enforce limits on its requests"):
        RemoteProvider("bedrock", "anthropic.claude")
    with pytest.raises(UsageError, match="no model of together_ai was named"):
        RemoteProvider("together_ai")
