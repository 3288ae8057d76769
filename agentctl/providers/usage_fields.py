"""The fields of a usage block: which number is a token class, a part of one, a fee, or harmless. Pure.

Each format has a table of the known fields. A number that no table names is judged by its name:

- a time or a rate (``queue_time``, ``tokens_per_second``) is harmless: it is never billed;
- a count of anything else (``web_search_requests``, ``video_tokens``, ``num_sources_used``) is a fee as soon as it is
  above 0, because agentctl asks for text and its own tools only and has no price for it;
- any other number above 0 is unknown. Then the report is not charged: the attempt stays in doubt, at the hold or at
  what was reported if that is more. The run goes on, because a new field is more often a statistic than a fee.

Fields that are null, 0, text or a truth value say nothing about the amount, unless a table names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from math import ceil, inf
from types import MappingProxyType
from typing import NamedTuple

FieldTable = Mapping[str, str]
"""From the path of a field to what it is: PART, FEE, HARMLESS, MODALITIES, or the name of a token class.

``container.*`` means every field of a container that is not named itself.
"""

PART = "a part of another class"
FEE = "a fee"
HARMLESS = "harmless"
MODALITIES = "counts by modality"
_UNKNOWN = "unknown"

MOST_NUMBER = 10**40  # a larger number is read as this one: more than any ledger stores, and quick to multiply
_MOST_DIGITS = 40
_MOST_DEPTH = 8
_MOST_QUOTED = 60

OPENAI: FieldTable = MappingProxyType(
    {
        "prompt_tokens": "input",
        "input_tokens": "input tokens",
        "completion_tokens": "output",
        "output_tokens": "output",
        "total_tokens": "total",
        # By gateways that pass other names on.
        **dict.fromkeys(("promptTokens", "inputTokens", "promptTokenCount", "inputTokenCount"), "input"),
        **dict.fromkeys(("prompt_token_count", "input_token_count", "prompt_eval_count", "num_prompt_tokens"), "input"),
        **dict.fromkeys(("completionTokens", "outputTokens", "outputTokenCount", "eval_count"), "output"),
        **dict.fromkeys(("completion_token_count", "output_token_count", "num_completion_tokens"), "output"),
        **dict.fromkeys(("candidatesTokenCount", "candidates_token_count"), "candidates"),
        **dict.fromkeys(("totalTokens", "totalTokenCount", "total_token_count"), "total"),
        **dict.fromkeys(("thoughtsTokenCount", "thoughts_token_count"), "thoughts"),
        "reasoningTokens": "reasoning",
        **dict.fromkeys(("billed_units.input_tokens", "tokens.input_tokens"), "input"),  # Cohere's
        **dict.fromkeys(("billed_units.output_tokens", "tokens.output_tokens"), "output"),
        **dict.fromkeys(("cachedContentTokenCount", "cached_content_token_count", "cachedTokens"), "cached"),
        **dict.fromkeys(("promptTokensDetails", "candidatesTokensDetails", "cacheTokensDetails"), MODALITIES),
        # Caches: by OpenAI, DeepSeek, Moonshot, Mistral, and by gateways that pass Anthropic's names on.
        "prompt_tokens_details.cached_tokens": "cached",
        "input_tokens_details.cached_tokens": "cached",
        "prompt_cache_hit_tokens": "cached",
        "cached_tokens": "cached",
        "num_cached_tokens": "cached",
        "cache_read_input_tokens": "cache read",
        "prompt_tokens_details.cache_write_tokens": "written",
        "prompt_tokens_details.cache_creation_tokens": "written",
        "prompt_tokens_details.cache_creation_input_tokens": "written",
        "cache_creation_input_tokens": "cache creation",
        "prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens": "written for minutes",
        "prompt_tokens_details.cache_creation_token_details.*": "written for an hour",
        "prompt_tokens_details.cache_creation.ephemeral_5m_input_tokens": "written for minutes",
        "prompt_tokens_details.cache_creation.*": "written for an hour",
        "cache_creation.ephemeral_5m_input_tokens": "written for minutes",
        "cache_creation.*": "written for an hour",
        "completion_tokens_details.reasoning_tokens": "reasoning",
        "output_tokens_details.reasoning_tokens": "reasoning",
        "reasoning_tokens": "reasoning",
        # Counted in a class above. Rejected predictions are billed as output, and are among the completion tokens.
        "prompt_cache_miss_tokens": PART,
        "prompt_tokens_details.text_tokens": PART,
        "prompt_tokens_details.provisioned_tokens": PART,
        "prompt_tokens_details.cached_tokens_details.text_tokens": PART,
        "completion_tokens_details.text_tokens": PART,
        "completion_tokens_details.provisioned_tokens": PART,
        "completion_tokens_details.accepted_prediction_tokens": PART,
        "completion_tokens_details.rejected_prediction_tokens": PART,
        # Billed beside text tokens, or at another price.
        "prompt_tokens_details.audio_tokens": FEE,
        "prompt_tokens_details.image_tokens": FEE,
        "prompt_tokens_details.video_tokens": FEE,
        "completion_tokens_details.audio_tokens": FEE,
        "completion_tokens_details.image_tokens": FEE,
        "completion_tokens_details.video_tokens": FEE,
        "prompt_audio_seconds": FEE,
        "server_tool_use": FEE,
        "server_tool_use_details": FEE,
        "server_side_tool_usage_details": FEE,
        "num_server_side_tools_used": FEE,
        "num_sources_used": FEE,
        "num_search_queries": FEE,
        "citation_tokens": FEE,
        "web_search_requests": FEE,
        "tool_usage": FEE,
        "plugins": FEE,
        # Amounts of money are read apart (OpenRouter, xAI), or come in an undeclared unit.
        "cost": HARMLESS,
        "cost_details": HARMLESS,
        "cost_in_usd_ticks": HARMLESS,
        "estimated_cost": HARMLESS,
        "market_cost": HARMLESS,
        "total_cost": HARMLESS,
        # Statistics.
        "queue_time": HARMLESS,
        "prompt_time": HARMLESS,
        "completion_time": HARMLESS,
        "total_time": HARMLESS,
        "latency_checkpoint": HARMLESS,
        "total_characters": HARMLESS,
    }
)

ANTHROPIC: FieldTable = MappingProxyType(
    {
        "input_tokens": "uncached",
        "cache_read_input_tokens": "cached",
        "cache_creation_input_tokens": "written",
        "cache_creation.ephemeral_5m_input_tokens": "written for minutes",
        "cache_creation.*": "written for an hour",
        "output_tokens": "output",
        "prompt_tokens": "uncached",  # of gateways; what was cached may be counted twice, and never too little
        "completion_tokens": "output",
        "total_tokens": "total",
        "prompt_tokens_details": PART,
        "completion_tokens_details": PART,
        "output_tokens_details": PART,
        "server_tool_use": FEE,
        "iterations": HARMLESS,  # the reader adds them up first
    }
)

GEMINI: FieldTable = MappingProxyType(
    {
        "promptTokenCount": "prompt",
        "toolUsePromptTokenCount": "tool prompt",
        "cachedContentTokenCount": "cached",
        "candidatesTokenCount": "candidates",
        "thoughtsTokenCount": "thoughts",
        "totalTokenCount": "total",
        "promptTokensDetails": MODALITIES,
        "toolUsePromptTokensDetails": MODALITIES,
        "cacheTokensDetails": MODALITIES,
        "candidatesTokensDetails": MODALITIES,
    }
)

OLLAMA: FieldTable = MappingProxyType(
    {
        "prompt_eval_count": "input",
        "prompt_eval_cached_count": "cached",
        "eval_count": "output",
        "prompt_tokens": "input",  # these of gateways
        "completion_tokens": "output",
        "total_tokens": "total",
        "total_duration": HARMLESS,
        "load_duration": HARMLESS,
        "prompt_eval_duration": HARMLESS,
        "eval_duration": HARMLESS,
    }
)

_TIME_OR_RATE = re.compile(
    r"times?|timing|timestamp|created|ms|us|ns|secs?|seconds?|duration|latency|ttft|per|rate|ratio|tps|throughput|speed"
    r"|percent(age)?"
)
_COUNT = re.compile(
    r"num|counts?|total|tokens?|requests?|calls?|search(es)?|quer(y|ies)|fetch(es)?|tools?|invocations?|executions?"
    r"|sessions?|citations?|sources?|results?|pages?|documents?|files?|images?|audio|video|speech|characters?|chars"
    r"|units?|credits?|fees?|charges?|surcharge"
)
_MEDIUM = re.compile(r"audio|video|images?|speech")  # billed by the second, too


class Number(NamedTuple):
    """A number of a report. ``least`` is the count that is certain; ``is_whole``: it is a count of 0 or more."""

    least: int
    is_whole: bool


class Block(NamedTuple):
    """The content of one block: token classes and fees by name, and why it cannot be charged ("": it can).

    ``counts`` has every class that the block names; for an unreadable number, the count that is certain.
    """

    counts: Mapping[str, int]
    fees: Mapping[str, str]
    flaw: str = ""


class _Field(NamedTuple):
    """A value of a block; ``kind`` is its kind in the table, None if the table does not name it."""

    path: str
    value: object
    kind: str | None


def number_of(value: object) -> Number:
    """Return a JSON value as a count of tokens: 100.0 is 100, and only a number is a count.

    Anything else keeps its size if it has one: "100" and 99.5 are at least 100.
    """
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit()):
            return Number(0, is_whole=False)
        return Number(MOST_NUMBER if len(value) > _MOST_DIGITS else int(value), is_whole=False)
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return Number(0, is_whole=False)
    if not 0 <= value < inf:  # also excludes NaN
        return Number(0, is_whole=False)
    if value >= MOST_NUMBER:
        return Number(MOST_NUMBER, is_whole=True)
    least = ceil(value)
    return Number(least, is_whole=least == value)


def parse_integer(text: str) -> int:
    """Return the integer of a JSON text, as ``json.loads`` takes it; with too many digits ``MOST_NUMBER``."""
    if len(text) <= _MOST_DIGITS:
        return int(text)
    return -1 if text.startswith("-") else MOST_NUMBER


def parse_fraction(text: str) -> Decimal | float:
    """Return the number of a JSON text with a point or an exponent, exactly: 1e400 is a whole number."""
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent beyond all bounds
        return float(text)


def read_block(block: Mapping[str, object], table: FieldTable) -> Block:
    """Read a usage block by the table of its format."""
    counts: dict[str, int] = {}
    fees: dict[str, str] = {}
    flaw = ""
    for field in _fields(block, table, "", 0):
        kind = _judge(field) if field.kind is None else field.kind
        if kind == FEE:
            if field.value is True or _is_above_zero(field.value):
                fees[_name(field.path, table)] = _quote(field.value)
        elif kind == _UNKNOWN:
            flaw = flaw or f"usage has a field that is not known: {_name(field.path, table)} = {_quote(field.value)}"
        elif kind != HARMLESS:
            number = number_of(field.value)
            counts[kind] = max(counts.get(kind, 0), number.least)
            if not number.is_whole:
                flaw = flaw or f"{_name(field.path, table)} is not a count of tokens: {_quote(field.value)}"
    return Block(counts, fees, flaw)


def cache_writes(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the cache writes: the reported total, or the sum of the counts by lifetime if that is larger."""
    hour = counts.get("written for an hour", 0)
    whole = max(counts.get("written", 0), counts.get("cache creation", 0))
    written = max(whole, counts.get("written for minutes", 0) + hour)
    return {"written": written, "hour writes": hour}


def with_rest(classes: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    """Return the classes, with the tokens that only the total counts as output."""
    beyond = counts.get("total", 0) - classes.get("input", 0)
    found = dict(classes)
    if "input" in classes and beyond > 0:
        found["output"] = max(beyond, classes.get("output", 0))
    return found


def input_with_caches(counts: Mapping[str, int]) -> int:
    """Return all input of a report with Anthropic's names in another format.

    Their input leaves out what caches held, unless the total says that it does not.
    """
    bare = counts["input tokens"]
    is_all = 0 < counts.get("total", 0) <= bare + counts.get("output", 0)
    return bare if is_all else bare + counts.get("cache read", 0) + cache_writes(counts)["written"]


def larger(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one.keys() | other.keys()}


def _fields(block: Mapping[str, object], table: FieldTable, path: str, depth: int) -> Iterator[_Field]:
    """Yield every value of a block that may count, inside any containers."""
    for name, value in block.items():
        here = f"{path}.{name}" if path else name
        kind = table.get(here) or table.get(f"{path}.*")
        if value is None or kind in (PART, HARMLESS):
            continue
        if kind == MODALITIES:
            yield from _by_modality(here, value)
        elif kind is None or kind == FEE:
            yield from _inside(_Field(here, value, kind), table, depth)
        else:
            yield _Field(here, value, kind)


def _inside(field: _Field, table: FieldTable, depth: int) -> Iterator[_Field]:
    """Yield a field, or the values in it if it is a container; everything in a container of fees is a fee."""
    path, value, kind = field
    if not isinstance(value, (Mapping, list)):
        yield field
    elif depth >= _MOST_DEPTH:
        yield _Field(path, 1, _UNKNOWN)
    elif isinstance(value, list):
        for inner in value:
            yield from _inside(_Field(path, inner, kind), table, depth + 1)
    elif kind == FEE:
        for name, inner in value.items():
            yield from _inside(_Field(f"{path}.{name}", inner, kind), table, depth + 1)
    else:
        yield from _fields(value, table, path, depth + 1)


def _by_modality(path: str, value: object) -> Iterator[_Field]:
    """Yield the counts of a list by modality other than text: they have another price."""
    for part in value if isinstance(value, list) else ():
        modality = str(part.get("modality", "")).lower() if isinstance(part, Mapping) else "text"
        if modality != "text":
            yield _Field(f"{path}.{modality or 'unknown'}", part.get("tokenCount"), FEE)


def _is_above_zero(value: object) -> bool:
    """Return whether a value is above zero; NaN, which compares with nothing, is."""
    if isinstance(value, str):
        return number_of(value).least > 0
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and not value <= 0


def _judge(field: _Field) -> str:
    """Return the kind of a field that no table names, by the words of its path."""
    if isinstance(field.value, (str, bool)) or not _is_above_zero(field.value):
        return HARMLESS
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", field.path).lower())
    if any(map(_TIME_OR_RATE.fullmatch, words)) and not any(map(_MEDIUM.fullmatch, words)):
        return HARMLESS
    return FEE if any(map(_COUNT.fullmatch, words)) else _UNKNOWN


def _name(path: str, table: FieldTable) -> str:
    """Return a field's name for a sentence: the last part of a known one, in plain characters."""
    known = path in table or path.rpartition(".")[0] in table
    name = path.rpartition(".")[2] if known else path
    return re.sub(r"[^\w.]", "?", name, flags=re.ASCII)[:_MOST_QUOTED]


def _quote(value: object) -> str:
    """Return a value of a report for a sentence: in plain characters, of limited length."""
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text.encode("ascii", "backslashreplace").decode()[:_MOST_QUOTED]
