"""The parameters that models refuse: the file is what the installed litellm answers, and requests follow it."""

from __future__ import annotations

import json
from importlib.metadata import version

import httpx
import pytest

from agentctl.core.errors import ProviderUnavailable
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import Via
from agentctl.providers.wires.model_parameters import FILE, ModelParameters, checked_litellm, parameters_of
from tests.support.formats import KEY, answer_of, asked
from tests.support.model_parameters import INVENTED, chat_models_of_openai, document


async def test_the_file_is_what_the_installed_litellm_answers() -> None:
    assert checked_litellm() == version("litellm")
    assert FILE.read_text() == await document(), "write it again: python -m tests.support.model_parameters"


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("openai", "gpt-4o", ModelParameters()),
        ("openai", "gpt-5-mini", ("max_completion_tokens", "system", {"stop", "temperature", "top_p"})),
        ("openai", "o3-mini", ("max_completion_tokens", "user", {"temperature", "top_p"})),
        ("azure", "gpt-4o", ("max_tokens", "system", {"service_tier"})),
        ("groq", "openai/gpt-5", ModelParameters()),
        ("openai", "a-model-that-nobody-knows", ModelParameters()),
    ],
)
def test_the_first_family_that_has_a_models_name_counts(provider: str, model: str, found: object) -> None:
    assert parameters_of(provider, model) == found


class Nowhere(httpx.AsyncBaseTransport):
    """A network that keeps the last request and is down."""

    body: dict[str, object]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.body = json.loads(request.content)
        raise httpx.ConnectError("down", request=request)


async def body_of(model: str, via: Via) -> dict[str, object]:
    provider = RemoteProvider("openai", model, api_key=KEY, base_url="http://gateway.invalid/v1", via=via)
    network = Nowhere()
    provider._connections = lambda: network  # type: ignore[method-assign]
    with pytest.raises(ProviderUnavailable):
        await answer_of(provider, asked())
    return network.body


async def test_every_chat_model_of_openai_is_asked_as_litellm_asks_it() -> None:
    differing = [
        model
        for model in {*chat_models_of_openai(), *INVENTED} - {"o1-pro", "o3-pro", "gpt-5-codex"}
        if await body_of(model, "lean") != await body_of(model, "litellm")
    ]
    assert differing == []
