"""Both clients send the same requests, read the same answers, and cost the same; where they differ a row says why.

litellm is the oracle: each case goes by both clients, through the gate, the ledger and the settlement.
"""

from __future__ import annotations

from typing import Any

import pytest

from agentctl.core.messages import Usage
from agentctl.providers import litellm_loader
from agentctl.providers.chat_format import as_messages, as_tools
from agentctl.providers.routes import ROUTES
from tests.support.formats import FORMATS, KEY
from tests.support.parity.cases import FINE
from tests.support.parity.comparing import MISSING, Difference, Meant, differences
from tests.support.parity.corpus import CASES
from tests.support.parity.meant import MEANT
from tests.support.parity.seeing import Seen, see
from tests.support.wire.server import WireServer

#: Where the cases that were sent so far differ: the same every time, so that each is sent once.
_FOUND: dict[str, tuple[Difference, ...]] = {}


async def found(name: str) -> tuple[Difference, ...]:
    """Send a case by both clients, if it has not been sent yet; return where they differ."""
    if name not in _FOUND:
        _FOUND[name] = await sent(name)
    return _FOUND[name]


async def sent(name: str) -> tuple[Difference, ...]:
    case, format = CASES[name], name.partition(":")[0]
    lean, litellm = await see(case, format, "lean"), await see(case, format, "litellm")
    assert (lean["client"], litellm["client"]) == ("lean", "litellm")
    assert litellm["wire"], "nothing was sent"
    assert litellm["charge"], "nothing was settled"
    for seen in (lean, litellm):  # both read the usage by the same code, so that the server is the judge of it
        if seen["billed"] is not None and seen["answer"] is not None and seen["answer"]["usage"] is not None:
            assert seen["answer"]["usage"] == seen["billed"]
    return differences(lean, litellm)


@pytest.mark.parametrize("name", CASES)
async def test_both_clients_do_the_same(name: str) -> None:
    places = await found(name)
    unmeant = [str(place) for place in places if not any(row.covers(name, place) for row in MEANT)]
    assert unmeant == [], "\n".join(unmeant)


#: A route without litellm's name is never called through it: what it sends to Azure does not pass the gate.
CHAT = sorted(
    name for name, route in ROUTES.items() if route.wire == "openai_chat" and route.prefix and name != "openai"
)
SAMPLES = ("parallel calls and their results", "three parallel calls", "cached input", "status 429", "thoughts")


#: litellm reads a thought of OpenRouter under OpenRouter's own name for it only.
UNREAD = ("openrouter: thoughts", "answer.reasoning")


@pytest.mark.parametrize("name", CHAT)
async def test_every_provider_of_the_chat_format_gets_the_same_by_both(name: str) -> None:
    for sample in SAMPLES:
        case = CASES[f"openai: {sample}"]
        lean, litellm = await see(case, "openai", "lean", name), await see(case, "openai", "litellm", name)
        places = differences(lean, litellm)
        title = f"{name}: {sample}"
        unmeant = [place for place in places if not any(row.covers(title, place) for row in MEANT)]
        assert [str(place) for place in unmeant if (title, place.path) != UNREAD] == [], title


@pytest.mark.parametrize("sample", ["parallel calls and their results", "eight tools", "model gpt-5"])
async def test_azure_gets_what_litellm_would_send_it(sample: str) -> None:
    case = CASES[f"openai: {sample}"]
    (lean,) = (await see(case, "openai", "lean", "azure"))["wire"]
    litellm = await litellm_loader.wait_for_litellm()
    import openai

    with WireServer(FINE) as server:
        own = openai.AsyncAzureOpenAI(
            api_key=KEY, azure_endpoint=server.url, api_version="2025-02-01-preview", max_retries=0
        )
        answer = await litellm.acompletion(
            model=f"azure/{case.model or 'gpt-4o'}",
            messages=as_messages(case.messages),
            tools=as_tools(case.tools),
            max_tokens=case.clamp,
            stream=True,
            stream_options={"include_usage": True},
            client=own,
            **{name: value for name, value in lean["body"].items() if name == "temperature"},  # 0 on this host
        )
        async for _ in answer:
            pass
        await own.close()
        (heard,) = server.books.chat_requests
    assert heard.body == lean["body"]
    assert heard.path == lean["path"].partition("?")[0]
    assert heard.headers["api-key"] == lean["headers"]["api-key"] == KEY


@pytest.mark.parametrize("row", MEANT, ids=lambda row: f"{row.cases} {row.path}")
async def test_every_meant_difference_is_one(row: Meant) -> None:
    """A row that no case needs any more is deleted."""
    assert row.right in ("lean", "litellm")
    assert row.source.startswith("https://")
    for name in (name for name in CASES if Meant(row.cases, "**", "", "", "").covers(name, Difference("", 0, 0))):
        if any(row.covers(name, place) for place in await found(name)):
            return
    pytest.fail("no case differs there")


def test_the_corpus_has_what_the_formats_share_and_what_each_has_alone() -> None:
    counts = {format: sum(name.startswith(f"{format}:") for name in CASES) for format in FORMATS}
    assert min(counts.values()) >= 150, counts
    assert sum("status " in name or "error " in name for name in CASES) >= 3 * 20


async def _seen(name: str) -> dict[str, Any]:
    return dict(await see(CASES[name], name.partition(":")[0], "litellm"))


def _changed(seen: Seen, path: str, value: object) -> dict[str, Any]:
    """Return what was seen with another value at a path."""
    head, _, rest = path.partition(".")
    new = value if not rest else _changed_part(seen[head], rest, value)
    return {**seen, head: new}


def _changed_part(part: Any, path: str, value: object) -> Any:  # noqa: ANN401 - any JSON
    head, _, rest = path.partition(".")
    if isinstance(part, dict):
        kept = {name: item for name, item in part.items() if name != head}
        return (
            kept
            if value is MISSING and not rest
            else {**kept, head: _changed_part(part[head], rest, value) if rest else value}
        )
    items = list(part)
    items[int(head)] = _changed_part(items[int(head)], rest, value) if rest else value
    return items


TWO_RESULTS = "openai: parallel calls and their results"
CHANGES = {
    "a field's name": (TWO_RESULTS, "wire.0.body.max_tokens", MISSING),
    "the clamp": (TWO_RESULTS, "wire.0.body.max_tokens", 322),
    "an address": (TWO_RESULTS, "wire.0.path", "/v1/completions"),
    "a header": (TWO_RESULTS, "wire.0.headers.authorization", "Bearer sk-other"),
    "a number's type": (TWO_RESULTS, "wire.0.body.max_tokens", 321.0),
    "a stop reason": ("openai: stop reason length", "answer.stop", "stop"),
    "a token class": ("openai: cached input", "answer.usage", Usage(100, 20)),
    "a charge": ("openai: cached input", "charge.0.2", 1),
    "a kind of error": ("openai: status 429", "error.kind", "provider"),
    "whether it was billed": ("openai: status 429", "error.billed", "unknown"),
    "when to try again": ("openai: retry-after: 7", "error.retry_after", 7.5),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_in_any_place_is_seen(change: str) -> None:
    name, path, value = CHANGES[change]
    seen = await _seen(name)
    assert differences(seen, seen) == ()
    (place,) = differences(_changed(seen, path, value), seen)
    assert place.path == path


async def test_another_order_of_results_is_seen() -> None:
    seen = await _seen(TWO_RESULTS)
    messages = seen["wire"][0]["body"]["messages"]
    swapped = _changed(seen, "wire.0.body.messages", [*messages[:3], messages[4], messages[3]])
    assert {place.path for place in differences(swapped, seen)} == {
        f"wire.0.body.messages.{at}.{field}" for at in (3, 4) for field in ("content", "tool_call_id")
    }


def test_a_row_covers_the_places_that_it_names_and_no_others() -> None:
    place = Difference("wire.0.body.tools.1.input_schema.type", "object", MISSING)
    for path, covers in {
        "wire.0.body.tools.*.input_schema.type": True,
        "wire.0.body.tools.*.*.type": True,
        "wire.0.**": True,
        "**": True,
        "wire.0.body.tools.*.type": False,
        "wire.0.body.tools.*": False,
        "wire.1.**": False,
    }.items():
        assert Meant("anthropic: *", path, "lean", "", "").covers("anthropic: one tool", place) is covers, path
        assert not Meant("openai: *", path, "lean", "", "").covers("anthropic: one tool", place)
