"""ContextManager: our messages or dicts, counted, cut, and warned about."""

from __future__ import annotations

import copy
import doctest
import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl import ContextManager
from agentctl.context import manager as context_manager
from agentctl.context.manager import ContextStats, ContextWarning
from agentctl.context.pruning import prune
from agentctl.context.tokens import PLAIN, ROUGH, Measure
from agentctl.core.errors import ContextOverflow, UsageError
from agentctl.core.messages import Message, ToolCall, ToolSpec
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.providers.tokenizers import measure_for
from agentctl.runner.plan import Plan
from tests.support.context.parts import SYSTEM, TASK, conversations, taken_by_a_provider, turn
from tests.support.counting import TEXTS

Talk = list[dict[str, Any]]
LONG = "x" * 2_000
MAKE: Callable[..., ContextManager] = ContextManager  # for what no type allows


def quiet(max_tokens: int = 2_000, keep: int = 1) -> ContextManager:
    return ContextManager(max_tokens, keep, keep, measure=PLAIN, warn=lambda _: None)


def openai(result: str = LONG, turns: int = 8) -> Talk:
    said: Talk = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "why?"}]},
    ]
    for n in range(turns):
        call = {"id": f"c{n}", "type": "function", "function": {"name": "logs", "arguments": json.dumps({"n": n})}}
        said.append({"role": "assistant", "content": None, "tool_calls": [call], "refusal": None})
        said.append({"role": "tool", "tool_call_id": f"c{n}", "content": result})
    return said


def anthropic(result: str = LONG, turns: int = 8) -> Talk:
    said: Talk = [{"role": "user", "content": "why?"}]
    for n in range(turns):
        text = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I look."}]
        uses = [{"type": "tool_use", "id": f"c{n}.{k}", "name": "logs", "input": {"n": n}} for k in (0, 1)]
        answers = [
            {"type": "tool_result", "tool_use_id": f"c{n}.0", "content": [{"type": "text", "text": result}]},
            {"type": "tool_result", "tool_use_id": f"c{n}.1", "content": "fine"},
        ]
        said += [{"role": "assistant", "content": [*text, *uses]}, {"role": "user", "content": answers}]
    return said


def ollama(result: str = LONG, turns: int = 8) -> Talk:
    said: Talk = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}]
    for n in range(turns):
        call = {"function": {"name": "logs", "arguments": {"n": n}}}
        said.append({"role": "assistant", "content": "", "tool_calls": [call]})
        said.append({"role": "tool", "content": result, "tool_name": "logs"})
    return said


DIALECTS = pytest.mark.parametrize("talk", [openai, anthropic, ollama])


def test_stats_say_how_full_the_context_is() -> None:
    messages, tools = (SYSTEM, TASK, *turn(1, "x" * 400)), (ToolSpec("ls", "Lists files.", {"type": "object"}),)
    tokens = PLAIN.conversation(messages) + PLAIN.schemas(tools)
    assert ContextManager(max_tokens=1_000, measure=PLAIN).get_context_stats(messages, tools) == ContextStats(
        messages=4,
        tokens=tokens,
        limit=1_000,
        usage_percent=tokens / 10,
        near_limit=False,
        cuts=0,
        messages_cut=0,
        tokens_saved=0,
        counted_by="UTF-8 bytes / 4",
    )


def test_stats_say_what_the_last_cut_removed() -> None:
    manager, talk = quiet(), openai()
    before = manager.get_context_stats(talk)
    kept = manager.prune(talk)
    after = manager.get_context_stats(manager.prune(kept))
    assert (after["cuts"], after["messages_cut"]) == (1, len(talk) - len(kept))
    assert after["tokens_saved"] == before["tokens"] - after["tokens"] > 0
    assert before["usage_percent"] > 100 > after["usage_percent"]


def test_the_phase_two_example_runs_as_written() -> None:
    context_mgr = ContextManager(max_tokens=16000, keep_last_n_user_messages=5, keep_last_n_assistant_messages=5)
    messages = [{"role": "user", "content": "List all containers"}]
    stats = context_mgr.get_context_stats(messages)
    assert f"Using {stats['usage_percent']:.1f}% of context" == "Using 0.1% of context"


def test_empty_conversation_gets_no_warning() -> None:
    stats = ContextManager().get_context_stats([])
    assert (stats["messages"], stats["tokens"], stats["usage_percent"]) == (0, 0, 0.0)
    assert ContextManager().prune([]) == []
    assert ContextManager().prune(()) == ()


@DIALECTS
def test_dicts_come_back_as_the_same_dicts_and_none_is_changed(talk: Callable[..., Talk]) -> None:
    given = talk()
    original = copy.deepcopy(given)
    kept = quiet().prune(given)
    assert given == original
    assert len(kept) < len(given)
    task = next(place for place, message in enumerate(kept) if message["role"] == "user")
    assert [message for message in kept if all(message is not one for one in given)] == [kept[task]]
    assert kept[task].items() >= {key: value for key, value in original[task].items() if key != "content"}.items()
    assert "Cut here to save room" in json.dumps(kept[task])
    assert quiet().fits(kept)
    assert quiet().prune(kept) == kept


@DIALECTS
def test_a_large_answer_comes_back_as_a_copy_with_its_middle_cut(talk: Callable[..., Talk]) -> None:
    given = talk("HEAD" + "x" * 50_000 + "TAIL", turns=1)
    original = copy.deepcopy(given)
    kept = quiet().prune(given)
    assert given == original
    assert [message is one for message, one in zip(kept[:-1], given, strict=False)] == [True] * (len(given) - 1)
    text = json.dumps(kept[-1])
    assert "HEAD" in text
    assert "TAIL" in text
    assert "50,008 characters: the middle is cut here" in text
    assert kept[-1].keys() == given[-1].keys()
    if talk is anthropic:
        assert kept[-1]["content"][1] is given[-1]["content"][1]
        assert kept[-1]["content"][0]["tool_use_id"] == "c0.0"


def test_blocks_beside_tool_results_are_cut_or_kept_independently() -> None:
    given = anthropic()
    words = {"type": "text", "text": "and restart it", "cache_control": {"type": "ephemeral"}}
    given[2]["content"].append(words)
    kept = ContextManager(2_000, 2, 1, warn=lambda _: None).prune(given)
    assert {"role": "user", "content": [words]} in kept


def test_a_long_text_of_blocks_keeps_its_other_blocks() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    use = {"type": "tool_use", "id": "a", "name": "ls", "input": {}}
    blocks = [thought, {"type": "text", "text": "short"}, {"type": "text", "text": "y" * 20_000}, use]
    talk: Talk = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": blocks}]
    _, kept = quiet().prune(talk)
    assert [block["type"] for block in kept["content"]] == ["thinking", "text", "text", "tool_use"]
    assert kept["content"][1] is blocks[1]
    assert "the middle is cut here" in kept["content"][2]["text"]


@given(conversations(), st.integers(50, 1_500), st.integers(0, 3))
def test_our_messages_and_their_dicts_are_cut_alike(messages: tuple[Message, ...], limit: int, keep: int) -> None:
    def plain(message: Message) -> dict[str, Any]:
        calls = [
            {"id": call.id, "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
            for call in message.tool_calls
        ]
        said = {"role": message.role, "content": message.text}
        return (
            said
            | ({"tool_calls": calls} if calls else {})
            | ({"tool_call_id": i} if (i := message.tool_call_id) else {})
        )

    manager = quiet(limit, keep)
    try:
        ours = prune(messages, max_tokens=limit, keep_user=keep, keep_assistant=keep)
    except ContextOverflow:
        with pytest.raises(ContextOverflow):
            manager.prune(messages)
        with pytest.raises(ContextOverflow):
            manager.prune([plain(message) for message in messages])
        return
    assert manager.prune(messages) == ours
    assert manager.prune([plain(message) for message in messages]) == [plain(message) for message in ours]
    assert manager.fits(ours)
    assert manager.get_context_stats(ours)["tokens"] == PLAIN.conversation(ours)
    assert ours is messages or taken_by_a_provider(ours)


def test_schemas_of_all_kinds_count() -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    function = {"type": "function", "function": {"name": "ls", "description": "Lists.", "parameters": schema}}
    blocks = {"name": "ls", "description": "Lists.", "input_schema": schema}
    manager = ContextManager(measure=PLAIN)
    counts = [
        manager.get_context_stats([], [one])["tokens"] for one in (ToolSpec("ls", "Lists.", schema), function, blocks)
    ]
    assert all(20 <= count <= 60 for count in counts)
    talk = openai(turns=3)
    limit = manager.get_context_stats(talk, [function])["tokens"]
    assert quiet(limit).prune(talk, [function]) == talk
    assert len(quiet(limit - 1).prune(talk, [function])) < len(talk)


def test_kept_messages_fit_beside_schemas_that_take_most_of_the_limit() -> None:
    tools = [{"name": "ls", "description": "d" * 4_000, "input_schema": {"type": "object"}}]
    kept = quiet(1_500).prune(openai(), tools)
    assert quiet(1_500).fits(kept, tools)
    assert not quiet(1_500).fits(openai(turns=1), tools)


def test_thoughts_and_names_count_and_are_never_cut() -> None:
    thought = {"type": "thinking", "thinking": "t" * 4_000, "signature": "s"}
    talk: Talk = [
        {"role": "user", "content": "why?", "name": "n" * 400},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "y" * 8_000}]},
    ]
    assert quiet().get_context_stats(talk)["tokens"] == 105 + 3_009
    kept = quiet().prune(talk)
    assert quiet().fits(kept)
    assert kept[0] is talk[0]
    assert kept[1]["content"][0] is thought


def test_conversation_that_cannot_fit_names_a_limit_that_does() -> None:
    manager = quiet(1_000)
    with pytest.raises(ContextOverflow) as caught:
        manager.prune([{"role": "user", "content": "x" * 40_000}])
    assert caught.value.message == (
        "the conversation needs about 10,004 tokens even when cut; max_tokens is 1,000 (the task: 10,004 tokens)"
    )
    assert caught.value.hint == "raise it: ContextManager(max_tokens=21000), or shorten the task"
    assert manager.get_context_stats([])["cuts"] == 0


def test_a_smaller_window_can_be_named_and_a_larger_one_changes_nothing() -> None:
    talk = openai()
    assert len(quiet(100_000).prune(talk, max_tokens=2_000)) == len(quiet(2_000).prune(talk, max_tokens=100_000))
    with pytest.raises(UsageError):
        quiet().prune(talk, max_tokens=0)


def test_manager_warns_once_each_time_the_limit_comes_near() -> None:
    heard: list[str] = []
    manager = ContextManager(1_000, measure=PLAIN, warn=heard.append)
    low, high = [{"role": "user", "content": "x" * 3_180}], [{"role": "user", "content": "x" * 3_184}]
    assert not manager.get_context_stats(low)["near_limit"]
    assert [manager.get_context_stats(high)["near_limit"] for _ in range(3)] == [True] * 3
    manager.prune(high)
    assert heard == [
        "the conversation fills 80 % of its limit of 1,000 tokens; above that its least relevant parts are cut"
    ]
    manager.get_context_stats(low)
    manager.prune(high)
    assert len(heard) == 2


def test_warning_without_a_function_is_a_python_warning_at_the_callers_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ContextManager(100).prune([{"role": "user", "content": "x" * 340}])
        ContextManager(100).get_context_stats([{"role": "user", "content": "x" * 340}])
    assert [(one.category, one.filename) for one in caught] == [(ContextWarning, __file__)] * 2


@pytest.mark.parametrize(("percent", "most"), [(30, 600), (50, 1_000), (90, 1_800)])
def test_manager_sets_how_deep_a_cut_goes(percent: int, most: int) -> None:
    manager = ContextManager(2_000, 1, 1, cut_to_percent=percent, warn=lambda _: None)
    tokens = manager.get_context_stats(manager.prune(openai(LONG[:400], 60)))["tokens"]
    assert most - 300 <= tokens <= most


def test_manager_sets_from_which_percentage_it_warns() -> None:
    heard: list[str] = []
    manager = ContextManager(1_000, warn_percent=60, measure=PLAIN, warn=heard.append)
    assert not manager.get_context_stats([{"role": "user", "content": "x" * 2_380}])["near_limit"]
    assert manager.get_context_stats([{"role": "user", "content": "x" * 2_384}])["near_limit"]
    assert heard == [
        "the conversation fills 60 % of its limit of 1,000 tokens; above that its least relevant parts are cut"
    ]


def test_a_manager_counts_by_the_given_measure_and_names_it() -> None:
    letters = Measure(count=len, way="letters")
    manager = ContextManager(2_000, 1, 1, measure=letters, warn=lambda _: None)
    talk = openai("x" * 300)
    stats = manager.get_context_stats(talk)
    assert stats["counted_by"] == letters.way
    assert stats["tokens"] > 3 * quiet().get_context_stats(talk)["tokens"]
    assert manager.estimate_tokens("twelve bytes") == 12
    tool = {"name": "ls", "description": "d" * 100}
    assert manager.get_context_stats([], [tool])["tokens"] > 100
    kept = manager.prune(talk)
    assert len(kept) < len(talk)
    assert manager.fits(kept)
    assert quiet(2_000).prune(talk) == talk, "by bytes it fits"
    assert len(quiet(2_000).prune(talk, measure=letters)) == len(kept), "for this once"


def test_a_manager_counts_tool_logs_by_the_kinds_of_their_characters() -> None:
    truth = measure_for("openai", "gpt-4o")
    manager = ContextManager()
    for kind in ("JSON", "logs", "hex", "base64", "ids", "numbers"):
        text = TEXTS[kind]
        assert 0.9 * truth.text(text) <= manager.estimate_tokens(text), kind
        assert PLAIN.text(text) < 0.6 * truth.text(text), kind
    assert manager.measure == ROUGH == Measure()
    assert manager.get_context_stats([])["counted_by"] == "kinds of characters"


@pytest.mark.parametrize("measure", [Measure(), PLAIN, Measure(image=85)])
def test_a_run_counts_as_its_model_does_if_its_manager_only_estimates(measure: Measure) -> None:
    manager = ContextManager(4_000, measure=measure)
    assert Plan(context=manager).measure is None
    assert Plan(context=ContextManager(4_000, measure=measure.scaled(2))).measure is not None


def test_a_run_counts_as_its_manager_does_and_else_as_the_model_does() -> None:
    letters = Measure(count=len, way="letters")
    facts = ModelFacts("scripted", "large", FREE, context_window=128_000, output_ceiling=500)
    messages = (SYSTEM, TASK, *(message for n in range(8) for message in turn(n, "x" * 300)))
    own = Plan(context=ContextManager(2_000, measure=letters, warn=lambda _: None))
    plain = Plan(context=ContextManager(2_000, warn=lambda _: None))
    assert len(own.fit(facts, messages, ())) < len(messages)
    assert plain.fit(facts, messages, ()) == messages
    assert len(plain.fit(facts, messages, (), measure=letters)) < len(messages)
    assert own.fit(facts, messages, (), measure=PLAIN.scaled(9)) == own.fit(facts, messages, ()), "it rules"


def test_a_manager_that_rules_a_run_says_how_deep_it_cuts() -> None:
    facts = ModelFacts("scripted", "large", FREE, context_window=128_000, output_ceiling=500)
    messages = (SYSTEM, TASK, *(message for n in range(90) for message in turn(n, "x" * 300)))
    own = Plan(cut_to_percent=90, context=ContextManager(4_000, cut_to_percent=25, warn=lambda _: None))
    settings_only = Plan(max_context_tokens=4_000, cut_to_percent=25)
    assert own.fit(facts, messages, ()) == settings_only.fit(facts, messages, ())
    assert PLAIN.conversation(own.fit(facts, messages, ())) <= 1_000


@pytest.mark.parametrize("value", [0, -1, True, 8000.0, "8000", None, [8000]])
def test_invalid_limit_is_refused(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        MAKE(max_tokens=value)
    assert caught.value.message == f"max_tokens must be a whole number of at least 1, not {value!r}"
    assert caught.value.hint == "max_tokens=8000"


@pytest.mark.parametrize("name", ["keep_last_n_user_messages", "keep_last_n_assistant_messages"])
@pytest.mark.parametrize("value", [-1, False, 3.0, "3", None])
def test_invalid_number_of_messages_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        MAKE(**{name: value})
    assert caught.value.message == f"{name} must be a whole number of at least 0, not {value!r}"


def test_a_warn_that_cannot_be_called_is_refused() -> None:
    said: Any = "log"
    with pytest.raises(UsageError, match="warn must be a function"):
        ContextManager(warn=said)


def test_managers_numbers_can_be_read_and_not_changed() -> None:
    manager: Any = ContextManager(16_000, 5, 4)
    assert repr(manager) == (
        "ContextManager(max_tokens=16000, keep_last_n_user_messages=5, keep_last_n_assistant_messages=4)"
    )
    assert (manager.max_tokens, manager.keep_last_n_user_messages, manager.keep_last_n_assistant_messages) == (
        16_000,
        5,
        4,
    )
    with pytest.raises(AttributeError):
        manager.max_tokens = 5


class Answer:
    """A message object as some SDKs return it instead of a dict."""

    def model_dump(self) -> dict[str, str]:
        return {}


USER = {"role": "user", "content": "x"}
CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE
WRONG: dict[str, tuple[Any, str]] = {
    "a string": ("hello", "messages must be a list of messages, not a str"),
    "none": (None, "messages must be a list of messages, not None"),
    "one message": (USER, "messages must be a list of messages, not a dict"),
    "a string among them": ([USER, "x"], "messages[1] must be a message or a dict, not a str"),
    "an object": ([USER, Answer()], "messages[1] must be a message or a dict, not an Answer"),
    "no role": ([{"content": "x"}], "messages[0] has no role"),
    "a role of nobody": (
        [USER, {"role": "bot", "content": "x"}],
        "messages[1] has an unknown role: 'bot'",
    ),
    "a role that is a list": (
        [{"role": ["user"], "content": "x"}],
        "messages[0] has an unknown role: ['user']",
    ),
    "no content": ([{"role": "user"}], "messages[0].content must be a string or a list of text blocks, not None"),
    "content none": (
        [USER, {"role": "assistant", "content": None}],
        "messages[1].content must be a string or a list of text blocks, not None",
    ),
    "a number": (
        [{"role": "user", "content": 3}],
        "messages[0].content must be a string or a list of text blocks, not an int",
    ),
    "an empty list": ([{"role": "user", "content": []}], "messages[0].content is an empty list"),
    "a block without a type": (
        [{"role": "user", "content": [{"text": "x"}]}],
        "messages[0].content[0] is a block of type None, which is not supported there",
    ),
    "an answer of the assistant": (
        [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}],
        "messages[0].content[0] is a block of type 'tool_result', which is not supported there",
    ),
    "an item that is not here": (
        [{"type": "item_reference", "id": "msg_1"}],
        "messages[0] refers to an item that the provider keeps, which cannot be counted",
    ),
    "a key that is no JSON": (
        [{**USER, "extra": CIRCLE}],
        "messages[0].extra cannot be written as JSON: Circular reference detected",
    ),
    "a bare string in a list": (
        [{"role": "user", "content": ["x"]}],
        "messages[0].content[0] must be a block such as {'type': 'text', 'text': …}, not a str",
    ),
    "a text of none": (
        [{"role": "user", "content": [{"type": "text"}]}],
        "messages[0].content[0].text must be a string, not None",
    ),
    "a call of the user": (
        [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "x", "input": {}}]}],
        "messages[0].content[0] is a block of type 'tool_use', which is not supported there",
    ),
    "calls in no list": (
        [{"role": "assistant", "content": "", "tool_calls": {}}],
        "messages[0].tool_calls must be a list, not a dict",
    ),
    "a call without function": (
        [{"role": "assistant", "content": "", "tool_calls": [{"id": "a"}]}],
        'messages[0].tool_calls[0] must be a dict with a "function"',
    ),
    "a call without name": (
        [{"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": "{}"}}]}],
        "messages[0].tool_calls[0].name must be a string, not None",
    ),
    "arguments of a number": (
        [{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "x", "arguments": 3}}]}],
        "messages[0].tool_calls[0].arguments must be JSON text or a dict, not an int",
    ),
    "an id of a number": (
        [{"role": "tool", "content": "", "tool_call_id": 3}],
        "messages[0].tool_call_id must be a string, not an int",
    ),
    "an answer to nobody": (
        [{"role": "user", "content": [{"type": "tool_result", "content": "x"}]}],
        "messages[0].content[0].tool_use_id must be a string, not None",
    ),
    "our message in a wrong role": (
        [Message("bot", "x")],  # type: ignore[arg-type]
        "messages[0] has an unknown role: 'bot'",
    ),
    "our message without a text": ([Message("user", None)], "messages[0].text must be a string, not None"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("messages, message", WRONG.values(), ids=WRONG)  # noqa: PT006
def test_invalid_conversation_is_refused_with_the_position(messages: object, message: str) -> None:
    manager = ContextManager()
    uses: tuple[Callable[..., object], ...] = (manager.get_context_stats, manager.prune, manager.fits)
    for use in uses:
        with pytest.raises(UsageError) as caught:
            use(messages)
        assert caught.value.message == message


def test_a_block_that_cannot_be_counted_is_refused_with_those_that_can() -> None:
    for role, known in (("user", "text, tool_result"), ("assistant", "text, tool_use"), ("system", "text")):
        with pytest.raises(UsageError) as caught:
            ContextManager().prune([{"role": role, "content": [{"text": "no type"}]}])
        assert caught.value.hint == f"allowed there: {known}"


def test_value_that_is_not_json_serializable_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    call = Message("assistant", "", (ToolCall("a", "x", circle),))
    strange: Any = quiet
    one: Any = {"name": "ls"}
    with pytest.raises(UsageError, match=r"messages\[0\]\.tool_calls\[0\]\.arguments cannot be written as JSON"):
        ContextManager().prune([call])
    with pytest.raises(UsageError, match=r"tools\[0\] must be a tool's schema as a dict, not a function"):
        ContextManager().fits([], [strange])
    with pytest.raises(UsageError, match="tools must be a list of tools, not a dict"):
        ContextManager().fits([], one)


def test_arguments_that_are_not_json_are_counted() -> None:
    call = {"id": "a", "function": {"name": "x", "arguments": "{" * 400}}
    said = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    assert ContextManager().get_context_stats(said)["tokens"] >= 100


KEYS = (
    *("role", "content", "type", "text", "tool_calls", "function", "name", "arguments", "tool_use_id", "call_id"),
    *("output", "images", "audio", "source", "data", "image_url", "function_call", "refusal", "thinking"),
)
WORDS = (
    *("user", "assistant", "tool", "function", "text", "tool_use", "tool_result", "image", "document", "thinking"),
    *("function_call", "function_call_output", "reasoning", "shell_call", "compaction", "mcp_approval_request"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(KEYS),
        inner | st.sampled_from(WORDS),
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(JSON, max_size=4))
def test_any_content_is_counted_or_refused(messages: object) -> None:
    try:
        given: Any = messages
        quiet(10).prune(given)
    except (UsageError, ContextOverflow) as error:
        said: object = error.message
    else:
        said = quiet(10).get_context_stats(given)["tokens"] + 1
    assert said


def test_the_examples_in_the_docstrings_run() -> None:
    found = doctest.testmod(context_manager)
    assert (found.failed, found.attempted >= 9) == (0, True)


def test_a_caller_who_prunes_the_whole_history_each_turn_counts_only_what_is_new() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text) // 4

    manager = ContextManager(2_000, 1, 1, measure=Measure(count=count, way="spied"), warn=lambda _: None)
    talk = openai("word " * 80, turns=60)
    manager.prune(talk)
    first = len(counted)
    for turns in (61, 62, 63):
        talk += [{**one, "id": turns} for one in openai(f"{turns} " * 80, turns)[-2:]]
        counted.clear()
        kept = manager.prune(talk)
        assert [text for text in counted if text.startswith("word ")] == [], "what was cut is not counted again"
        assert len(counted) < first
        fresh = ContextManager(2_000, 1, 1, measure=Measure(count=lambda text: len(text) // 4), warn=lambda _: None)
        assert kept == fresh.prune(talk), "the same, whatever is remembered"


@DIALECTS
def test_a_caller_may_go_on_with_the_whole_history_or_with_what_was_returned(talk: Callable[..., Talk]) -> None:
    manager, whole = quiet(), talk(turns=10)
    returned = manager.prune(whole)
    for turns in range(11, 19):
        new = talk(f"{turns} " * 300, turns)[-2:]
        whole, returned = [*whole, *new], [*returned, *new]
        assert manager.prune(whole) == quiet().prune(whole)
        expected = quiet().prune(returned)
        assert manager.prune(returned) == expected
        returned = expected
