"""What a server refuses by name: left out, asked once more, remembered; and the clamp, which is only ever renamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import AgentctlError, CannotBeLimited, ParameterRefused, Rejected
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider
from agentctl.providers.parameter_refusals import is_refused
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import Via
from agentctl.providers.wires.exchange import Refusals
from tests.support.formats import KEY, Wire, answer_of, asked
from tests.support.wire.server import Answer, Fault, WireRequest, WireServer

Body = dict[str, Any]
NAMED: dict[str, Callable[[str], bytes]] = {
    "OpenAI, older": lambda name: _error(f"Unrecognized request argument supplied: {name}"),
    "OpenAI": lambda name: _error(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter"),
    "OpenAI by its code alone": lambda name: _error("No.", param=name, code="unsupported_parameter"),
    "OpenAI with an alternative": lambda name: _error(
        f"Unsupported parameter: '{name}' is not supported with this model. Use 'another_parameter' instead."
    ),
    "FastAPI": lambda name: _detail(
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not p"}
    ),
    "Mistral": lambda name: json.dumps(
        {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "no"}]}}
    ).encode(),
    "Anthropic": lambda name: _error(f"{name}: Extra inputs are not permitted"),
    "Groq": lambda name: _error(f"property '{name}' is unsupported"),
    "Go": lambda name: _error(f'json: unknown field "{name}"'),
    "Rust": lambda name: _error(f"unknown field `{name}`, expected one of `model`, `messages`, `max_tokens`, `stream`"),
    "Gemini": lambda name: _error(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'),
    "LiteLLM": lambda name: _error(f"openai does not support parameters: ['{name}'], for model=m"),
    "JSON schema": lambda name: _error(f"Additional properties are not allowed ('{name}' was unexpected)"),
    "xAI": lambda name: _error(f"Argument not supported on this model: {name}"),
    "Python": lambda name: _error(f"create() got an unexpected keyword argument '{name}'"),
    "plain text": lambda name: f"unknown parameter {name}".encode(),
}


def _error(message: str, **more: object) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", **more}}).encode()


def _detail(*parts: Body) -> bytes:
    return json.dumps({"detail": list(parts)}).encode()


def refusing(*names: str, form: str = "OpenAI", status: int = 400) -> Callable[[WireRequest], Answer | Fault]:
    """Return a server that refuses the first of ``names`` that a request holds, and answers where there is none."""

    def answer(request: WireRequest) -> Answer | Fault:
        held = next((name for name in names if name in request.body or name in request.body.get("options", {})), None)
        return Answer("hello") if held is None else Fault(status, body=NAMED[form](held))

    return answer


def provider_of(server: WireServer, via: Via = "lean") -> OpenAIProvider:
    return OpenAIProvider("gpt-4o", api_key=KEY, base_url=server.openai_url, via=via)


async def until_it_ends(provider: RemoteProvider, most: int = 9) -> list[AgentctlError | str]:
    """Ask as a run does, again after each parameter that was refused; return every outcome."""
    found: list[AgentctlError | str] = []
    for _ in range(most):
        try:
            found.append((await answer_of(provider, asked()))[0])
            break
        except AgentctlError as error:
            found.append(error)
            if not isinstance(error, ParameterRefused):
                break
    return found


def bodies(server: WireServer) -> list[Body]:
    return [heard.body for heard in server.books.chat_requests if heard.body is not None]


@pytest.mark.parametrize("via", ["lean", "litellm"])
@pytest.mark.parametrize("form", NAMED)
async def test_parameter_that_is_refused_is_left_out_once_and_for_all(wire: Wire, form: str, via: Via) -> None:
    server = wire(refusing("stream_options", form=form, status=422 if form == "FastAPI" else 400), repeat=True)
    provider = provider_of(server, via)
    refused, answer = await until_it_ends(provider)
    assert isinstance(refused, ParameterRefused)
    assert (refused.billed, refused.retryable, answer) == ("no", True, "hello")
    assert "sending no stream_options from here on" in refused.message
    assert await until_it_ends(provider) == ["hello"], "it is remembered"
    await provider.aclose()
    assert ["stream_options" in body for body in bodies(server)] == [True, False, False]
    assert {body["max_tokens"] for body in bodies(server)} == {321}


@pytest.mark.parametrize("via", ["lean", "litellm"])
@pytest.mark.parametrize("form", NAMED)
async def test_clamp_is_exchanged_for_its_other_name_and_never_dropped(wire: Wire, form: str, via: Via) -> None:
    server = wire(refusing("max_tokens", form=form), repeat=True)
    provider = provider_of(server, via)
    refused, answer = await until_it_ends(provider)
    await provider.aclose()
    assert isinstance(refused, ParameterRefused)
    assert answer == "hello"
    assert "sending max_completion_tokens in place of max_tokens" in refused.message
    limits = [{name: body[name] for name in body if "tokens" in name} for body in bodies(server)]
    assert limits == [{"max_tokens": 321}, {"max_completion_tokens": 321}]


@pytest.mark.parametrize("via", ["lean", "litellm"])
async def test_server_that_refuses_every_clamp_gets_no_more_requests(wire: Wire, via: Via) -> None:
    server = wire(refusing("max_tokens", "max_completion_tokens"), repeat=True)
    provider = provider_of(server, via)
    first, last = await until_it_ends(provider)
    (again,) = await until_it_ends(provider)
    await provider.aclose()
    assert isinstance(first, ParameterRefused)
    for error, unsent in ((last, False), (again, True)):
        assert isinstance(error, CannotBeLimited)
        assert (error.status, error.billed, error.unsent, error.retryable) == ("usage", "no", unsent, False)
        assert (
            "the output of this server cannot be limited: it refuses max_tokens and max_completion_tokens"
            in error.message
        )
    assert len(bodies(server)) == 2


async def test_clamp_with_one_name_only_is_not_exchanged(wire: Wire) -> None:
    claude = wire(refusing("max_tokens", form="Anthropic"), repeat=True)
    llama = wire(refusing("num_predict", form="Go"), repeat=True)
    for server, provider in (
        (claude, AnthropicProvider("claude-haiku-4-5", api_key=KEY, base_url=claude.url)),
        (llama, OllamaProvider("llama3.1", base_url=llama.url)),
    ):
        (error,) = await until_it_ends(provider)
        await provider.aclose()
        assert isinstance(error, CannotBeLimited)
        assert len(bodies(server)) == 1


async def test_server_that_names_what_was_not_sent_changes_nothing(wire: Wire) -> None:
    for name in ("max_completion_tokens", "service_tier", "messages", "model", "tools"):
        server = wire(Fault(400, body=NAMED["OpenAI"](name)), repeat=True)
        provider = provider_of(server)
        (error,) = await until_it_ends(provider)
        await provider.aclose()
        assert type(error) is Rejected
        assert provider._refused == Refusals()
        assert len(bodies(server)) == 1


@given(
    names=st.lists(st.sampled_from(["max_tokens", "max_completion_tokens", "stream_options", "stream", "model", "n"]))
)
async def test_no_sequence_of_refusals_changes_the_clamp(names: list[str]) -> None:
    """Whatever a server names, true or not, each request has the clamp once, as granted; and there are few requests."""
    left = list(names)

    def answer(_: WireRequest) -> Answer | Fault:
        return Fault(400, body=NAMED["OpenAI"](left.pop(0))) if left else Answer("hello")

    with WireServer(answer) as server:
        provider = provider_of(server)
        await until_it_ends(provider)
        await provider.aclose()
    sent = bodies(server)
    assert [sum("tokens" in name for name in body) for body in sent] == [1] * len(sent)
    assert {body.get("max_tokens", body.get("max_completion_tokens")) for body in sent} == {321}
    assert len(sent) <= 5


async def test_several_parameters_of_one_refusal_are_left_out_at_once(wire: Wire) -> None:
    both = _detail(
        {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"},
        {"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"},
    )
    server = wire([Fault(422, body=both), Answer("hello")])
    refused, answer = await until_it_ends(provider_of(server))
    assert answer == "hello"
    assert isinstance(refused, ParameterRefused)
    assert "max_completion_tokens in place of max_tokens, and no stream_options" in refused.message


async def test_other_parameters_of_the_other_formats_are_left_out(wire: Wire) -> None:
    llama = wire(refusing("truncate", form="Go"), repeat=True)
    provider = OllamaProvider("llama3.1", base_url=llama.url)
    assert (await until_it_ends(provider))[-1] == "hello"
    await provider.aclose()
    assert ["truncate" in body for body in bodies(llama)] == [True, False]
    assert all(body["options"]["num_predict"] == 321 for body in bodies(llama))


NOT_REFUSED = {
    "max_tokens is too large: 4096. This model supports at most 2048 completion tokens.": "max_tokens",
    "Invalid value for max_tokens: unsupported range": "max_tokens",
    "max_tokens must be less than 100": "max_tokens",
    "unknown field `seed`, expected one of `max_tokens`, `stream`": "max_tokens",
    "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.": "max_completion_tokens",
    "Unknown parameter: 'my_max_tokens'.": "max_tokens",
    "Unrecognized request argument supplied: stream_options": "stream",
    "The messages have an unknown role.": "stream",
}


@pytest.mark.parametrize("said", NOT_REFUSED)
def test_parameter_that_is_only_mentioned_is_not_refused(said: str) -> None:
    assert not is_refused(NOT_REFUSED[said], {"error": {"message": said, "param": None}}, said)


def test_hold_is_at_the_dearest_service_tier_where_none_is_sent() -> None:
    here = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1").facts.price
    official = OpenAIProvider("gpt-4o", api_key=KEY).facts.price
    assert here is not None
    assert official is not None
    assert (official.dearest_input, official.dearest_output) == (official.input, official.output)
    (priority,) = here.service_tiers
    assert (here.dearest_input, here.dearest_output) == (priority.input, priority.output)
    assert priority.output > official.output
    assert (here.input, here.output) == (official.input, official.output), "an answer is charged as it was served"
