"""Context windows as providers report them: the trained length of a model, and the numbers of a refusal."""

from __future__ import annotations

import json

import anyio
import pytest

from agentctl.core.errors import ContextOverflow
from agentctl.core.messages import Usage
from agentctl.providers.factory import OllamaProvider
from agentctl.providers.probe import served_card, window_in_card
from agentctl.providers.stream_readers import OllamaReader
from tests.support.formats import answer_of, asked, open_provider
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault

REFUSALS = {
    "openai, the prompt": (
        ("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens (8500 in "
        "the messages, 500 in the functions). Please reduce the length of the messages or functions."),
        8_192, 9_000,
    ),
    "openai, with the answer": (
        ("This model's maximum context length is 8192 tokens. However, you requested 9200 tokens (4904 in the "
        "messages, 200 in the functions, and 4096 in the completion). Please reduce the length."),
        8_192, 5_104,
    ),
    "vllm": (
        ("'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context length is 4096 "
        "tokens and your request has 1200 input tokens (4096 > 4096 - 1200)."),
        4_096, 1_200,
    ),
    "anthropic": ("prompt is too long: 210042 tokens > 200000 maximum", 200_000, 210_042),
    "anthropic, with the answer": (
        ("input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000, decrease input length or "
        "`max_tokens` and try again"),
        200_000, 199_000,
    ),
    "llama.cpp": (
        "request (2622 tokens) exceeds the available context size (512 tokens), try increasing it", 512, 2_622,
    ),
    "ollama, which hands it on": (
        json.dumps({"error": {"code": 400, "message": "request (2622 tokens) exceeds the available context size (512 "
                              "tokens), try increasing it", "type": "exceed_context_size_error"}}),
        512, 2_622,
    ),
    "ollama 0.12": ("the input length exceeds the context length", None, None),
    "ollama, not cut": ("the prompt is longer than the context length currently available to the model", None, None),
    "gemini": (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1_048_576, 1_200_000,
    ),
    "groq": ("Please reduce the length of the messages: context_length_exceeded", None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusal_as_too_long_gives_both_sizes_where_it_names_them(wire: OpenWire, name: str) -> None:
    words, window, prompt = REFUSALS[name]
    server = wire(Fault(400, body=json.dumps({"error": {"message": words}}).encode()))
    async with open_provider(server, "openai") as provider:
        with pytest.raises(ContextOverflow) as caught:
            await answer_of(provider, asked())
    assert (caught.value.window, caught.value.prompt, caught.value.billed) == (window, prompt, "no")


async def test_the_window_is_what_the_model_was_trained_on(wire: OpenWire) -> None:
    server = wire(Answer("ok"), context_length=2_048, repeat=True)
    provider = OllamaProvider("tinyllama", base_url=server.url)
    assert (provider.facts.context_window, provider.num_ctx) == (12_288, 12_288)
    await provider.prepare()
    assert (provider.facts.context_window, provider.facts.output_ceiling, provider.num_ctx) == (2_048, 2_048, 2_048)
    await provider.prepare()
    await answer_of(provider, asked())
    await provider.aclose()
    assert [heard.path for heard in server.books.requests] == ["/api/show", "/api/chat"]
    assert (server.books.requests[1].body or {})["options"]["num_ctx"] == 2_048


async def test_a_longer_training_opens_no_longer_window(wire: OpenWire) -> None:
    provider = OllamaProvider("llama3.1", base_url=wire(Answer("ok"), context_length=131_072).url, num_ctx=9_216)
    await provider.prepare()
    assert (provider.facts.context_window, provider.num_ctx) == (9_216, 9_216)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://ollama.invalid:11434"])
async def test_missing_ollama_and_another_host_change_nothing(address: str) -> None:
    provider = OllamaProvider("llama3.1", base_url=address)
    with anyio.fail_after(60):
        await provider.prepare()
    assert provider.facts.context_window == 12_288


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ({"general.architecture": "qwen2", "qwen2.context_length": 32_768}, 32_768),
        ({"general.architecture": "qwen2", "llama.context_length": 32_768}, None),
        ({"general.architecture": "qwen2", "qwen2.context_length": "many"}, None),
        ({"general.architecture": "qwen2", "qwen2.context_length": True}, None),
        ({"general.architecture": "qwen2", "qwen2.context_length": 0}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_card_that_says_no_length_leaves_it_open(card: object, found: int | None) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Card(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"model_info": card}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Card) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        shown = served_card(f"http://127.0.0.1:{server.server_port}", None, "m", patience_s=60)
        assert window_in_card(shown) == found
        thread.join()


def test_tokens_that_ollama_had_cached_are_part_of_its_count() -> None:
    reader = OllamaReader()
    done = {"model": "l", "done": True, "prompt_eval_count": 900, "prompt_eval_cached_count": 850, "eval_count": 7}
    reader.read(done)
    assert reader.usage == Usage(900, 7, cached_input_tokens=850)
