"""What a model call adds to the metrics: its tokens, its duration and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agentctl.telemetry import conventions as names
from agentctl.telemetry.spans import AttributeValue, FinishedSpan, Measurement

_ABOUT = (names.OPERATION, names.PROVIDER, names.REQUEST_MODEL, names.RESPONSE_MODEL)
_ALWAYS = (names.INPUT_TOKENS, names.OUTPUT_TOKENS)
_USAGE = {
    "input_tokens": names.INPUT_TOKENS,
    "output_tokens": names.OUTPUT_TOKENS,
    "cached_input_tokens": names.CACHE_READ_TOKENS,
    "cache_write_tokens": names.CACHE_WRITE_TOKENS,
    "reasoning_tokens": names.REASONING_TOKENS,
}


def usage_attributes(usage: Mapping[str, object]) -> dict[str, AttributeValue]:
    """Return the attributes of a usage, of which zeros beside input and output are left out."""
    found = {name: usage.get(key) for key, name in _USAGE.items()}
    return {name: value for name, value in found.items() if isinstance(value, int) and (value or name in _ALWAYS)}


def measurements_of(call: FinishedSpan, *, agent: AttributeValue | None, nano: int | None) -> Iterator[Measurement]:
    """Yield the measurements of a model call; ``nano`` is what it is charged, or in doubt, None if that is unknown.

    Amounts in doubt are told apart by an attribute. Tokens are those that the provider reported.
    """
    about = {name: call.attributes[name] for name in _ABOUT if name in call.attributes}
    error = {names.ERROR: call.attributes[names.ERROR]} if names.ERROR in call.attributes else {}
    yield Measurement(names.DURATION, (call.end_ns - call.start_ns) / 1e9, {**about, **error})
    for kind, name in (("input", names.INPUT_TOKENS), ("output", names.OUTPUT_TOKENS)):
        if isinstance(value := call.attributes.get(name), int):
            yield Measurement(names.USED_TOKENS, value, {**about, names.COUNTED_AS: kind})
    if nano is not None:
        by = {} if agent is None else {names.AGENT: agent}
        yield Measurement(names.COST, nano / 1e9, {**about, **by, names.CONCLUSION: call.attributes[names.CONCLUSION]})
