"""OpenAI's own client understands what the server says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault, Rates, WireServer, containers, parallel

if TYPE_CHECKING:
    from openai import OpenAI

Open = Callable[..., "OpenAI"]
USER: Any = {"role": "user", "content": "List all containers"}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("docker_ps", "docker_images")
]
TABLE = "name   id   image\nweb-1  abc  nginx\ndb     def  pg"


@pytest.fixture
def client() -> Iterator[Open]:
    """Give a function that opens the real client to a server."""
    from openai import OpenAI

    opened: list[OpenAI] = []

    def to(server: WireServer, key: str = "sk-good") -> OpenAI:
        opened.append(OpenAI(base_url=server.openai_url, api_key=key, max_retries=0))
        return opened[-1]

    yield to
    for each in opened:
        each.close()


def asked(client: OpenAI, *messages: Any, **more: Any) -> Any:  # noqa: ANN401 - the client's own types are many
    return client.chat.completions.create(model="gpt-4o", messages=[USER, *messages], **more)


def test_sdk_reads_an_answer_and_its_usage(wire: OpenWire, client: Open) -> None:
    server = wire(Answer("Hello", input_tokens=100, output_tokens=20, cached=30, reasoning=5, model="gpt-4o-2024"))
    got = asked(client(server))
    assert (got.choices[0].message.content, got.choices[0].finish_reason, got.model) == ("Hello", "stop", "gpt-4o-2024")
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (100, 20, 120)
    assert got.usage.prompt_tokens_details.cached_tokens == 30
    assert got.usage.completion_tokens_details.reasoning_tokens == 5
    assert got._request_id.startswith("req_")


@pytest.mark.parametrize("usage", [True, False])
def test_sdk_reads_a_stream_and_its_usage(wire: OpenWire, client: Open, *, usage: bool) -> None:
    server = wire(Answer("Hello there ☃", input_tokens=100, output_tokens=20))
    chunks = list(asked(client(server), stream=True, stream_options={"include_usage": usage}))
    parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    counts = [(chunk.usage.prompt_tokens, chunk.usage.completion_tokens) for chunk in chunks if chunk.usage]
    assert ("".join(parts), counts) == ("Hello there ☃", [(100, 20)] if usage else [])


@pytest.mark.parametrize("story", [containers, parallel])
def test_sdk_plays_the_whole_story_by_streams(wire: OpenWire, client: Open, story: Callable[..., Answer]) -> None:
    server = wire(story)
    sdk = client(server)
    with sdk.chat.completions.stream(model="gpt-4o", messages=[USER], tools=TOOLS) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = message.tool_calls or []
    assert [call.function.name for call in calls] == ["docker_ps", "docker_images"][: len(calls)]
    results = [{"role": "tool", "tool_call_id": call.id, "content": TABLE} for call in calls]
    made = [call.model_dump(include={"id", "type", "function"}) for call in calls]
    turns: Any = [{"role": "assistant", "tool_calls": made}, *results]
    with sdk.chat.completions.stream(
        model="gpt-4o",
        messages=[USER, *turns],
        tools=TOOLS,
    ) as stream:
        final = stream.get_final_completion()
    assert "web-1, db" in (final.choices[0].message.content or "")
    assert (len(server.books.chat_requests), len(server.books.entries)) == (2, 2)


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (Fault(401), "AuthenticationError", "invalid_api_key"),
        (Fault(404), "NotFoundError", "model_not_found"),
        (Fault(429), "RateLimitError", "rate_limit_exceeded"),
        (Fault(code="insufficient_quota"), "RateLimitError", "insufficient_quota"),
        (Fault(code="context_length_exceeded"), "BadRequestError", "context_length_exceeded"),
        (Fault(503), "InternalServerError", None),
        (Fault(502), "InternalServerError", None),
        (Fault(reset=True), "APIConnectionError", None),
        (Fault(hang_up=True), "APIConnectionError", None),
    ],
)
def test_sdk_reads_the_errors(wire: OpenWire, client: Open, fault: Fault, error: str, code: str | None) -> None:
    import openai

    with pytest.raises(openai.APIError) as caught:
        asked(client(wire(fault)), stream=True)
    assert (type(caught.value).__name__, caught.value.code) == (error, code)


def test_sdk_reads_an_error_in_mid_stream(wire: OpenWire, client: Open) -> None:
    from openai import APIError

    stream = asked(client(wire(Fault(500, in_stream=True))), stream=True)
    said: list[str] = []
    with pytest.raises(APIError, match="had an error while processing"):
        said.extend(chunk.choices[0].delta.content for chunk in stream)
    assert "".join(said) == "The first half"


def test_sdk_retries_as_the_server_asks(wire: OpenWire) -> None:
    from openai import OpenAI

    soon = (("retry-after-ms", "1"),)
    server = wire([Fault(429, headers=soon), Fault(503, headers=soon, bills=True), Answer("at last")])
    with OpenAI(base_url=server.openai_url, api_key="k", max_retries=2) as sdk:
        got = sdk.with_options(timeout=10).chat.completions.create(model="gpt-4o", messages=[USER])
    assert got.choices[0].message.content == "at last"
    assert (len(server.books.chat_requests), len(server.books.entries)) == (3, 2)


def test_sdk_reports_an_answer_cut_by_the_clamp(wire: OpenWire, client: Open) -> None:
    server = wire(Answer("word " * 20, output_tokens=100), rates=Rates(Decimal(0), Decimal(10)))
    for name in ("max_tokens", "max_completion_tokens"):
        got = asked(client(server), **{name: 12})
        assert (got.choices[0].finish_reason, got.usage.completion_tokens) == ("length", 12)
    assert server.books.billed_nano == 2 * 12 * 10_000


def test_sdk_lists_models_with_a_good_key_only(wire: OpenWire, client: Open) -> None:
    from openai import AuthenticationError, NotFoundError

    server = wire(keys=["sk-good"], models=["gpt-4o", "gpt-4o-mini"])
    assert [model.id for model in client(server).models.list()] == ["gpt-4o", "gpt-4o-mini"]
    assert client(server).models.retrieve("gpt-4o").owned_by == "system"
    with pytest.raises(NotFoundError):
        client(server).models.retrieve("gpt-9")
    with pytest.raises(AuthenticationError, match=r"sk-wrong\*+7890"):
        client(server, "sk-wrong-1234567890").models.list()
    assert (len(server.books.requests), server.books.chat_requests) == (4, ())


async def test_the_asynchronous_client_hangs_up_when_it_has_enough(wire: OpenWire) -> None:
    from openai import AsyncOpenAI

    server = wire(Answer("word " * 40, stall=True))
    async with AsyncOpenAI(base_url=server.openai_url, api_key="k", max_retries=0) as sdk:
        stream: Any = await sdk.chat.completions.create(model="gpt-4o", messages=[USER], stream=True)
        assert (await anext(aiter(stream))).choices[0].delta.role == "assistant"
        await stream.close()
    assert server.books.wait(lambda books: len(books.hung_up) == 1)
    assert server.books.billed_nano > 0
