"""Write spans as OTLP JSON: one object ``resourceSpans``, as an OTLP/HTTP endpoint and a collector's file have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentctl.core.trace_context import TraceContext
from agentctl.core.version import __version__
from agentctl.telemetry.conventions import SCHEMA_URL, SCOPE, SERVICE_NAME
from agentctl.telemetry.spans import Attributes, AttributeValue, FinishedSpan

_KINDS = {"internal": 1, "client": 3}
_ERROR = 2
_KNOWS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200


def resource_attributes(given: Mapping[str, str], version: str) -> dict[str, AttributeValue]:
    """Return the attributes of the service: agentctl, unless the user names it otherwise."""
    return {"service.name": SERVICE_NAME, "service.version": version or __version__, **given}


def otlp_document(spans: Sequence[FinishedSpan], resource: Attributes) -> dict[str, object]:
    """Return the document of the spans that are recorded."""
    kept = [_span(span) for span in spans if span.context.is_sampled]
    scope = {"name": SCOPE, "version": __version__}
    scoped = [{"scope": scope, "spans": kept, "schemaUrl": SCHEMA_URL}]
    found = {"resource": {"attributes": _attributes(resource)}, "scopeSpans": scoped, "schemaUrl": SCHEMA_URL}
    return {"resourceSpans": [found]}


def is_remote(span: FinishedSpan) -> bool:
    """Return whether the parent of a span is a span of another run or program."""
    return span.name.startswith("invoke_agent") and span.parent is not None


def _span(span: FinishedSpan) -> dict[str, object]:
    context, parent = span.context, span.parent
    found: dict[str, object] = {"traceId": context.trace_id, "spanId": context.span_id}
    if context.state:
        found["traceState"] = context.state
    if parent is not None:
        found["parentSpanId"] = parent.span_id
    found |= {
        "flags": _KNOWS_IS_REMOTE | (_IS_REMOTE if is_remote(span) else 0),
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
    }
    if span.events:
        found["events"] = [
            {"timeUnixNano": str(event.at_ns), "name": event.name, "attributes": _attributes(event.attributes)}
            for event in span.events
        ]
    if span.links:
        found["links"] = [_link(link) for link in span.links]
    found["status"] = {"code": _ERROR} if span.is_error else {}
    return found


def _link(link: TraceContext) -> dict[str, object]:
    return {"traceId": link.trace_id, "spanId": link.span_id, "flags": _KNOWS_IS_REMOTE}


def _attributes(attributes: Attributes) -> list[dict[str, object]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: AttributeValue) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, tuple):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": value}
