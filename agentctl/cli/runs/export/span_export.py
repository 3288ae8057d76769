"""The spans of a past run as OTLP JSON, the same that a live run sends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from agentctl.cli.runs.export.pattern_redaction import PatternRedactor
    from agentctl.telemetry.spans import Attributes, AttributeValue, FinishedSpan


def export_spans(run_id: str | None, pattern: re.Pattern[str] | None) -> str:
    """Return the spans of a run (None: the last one) on one line, without what matches ``pattern``.

    Raises:
        UsageError: there is no such run.
        StateError: its journal cannot be read.
    """
    import json

    from agentctl.cli.error_output import report_settings
    from agentctl.cli.runs.export.pattern_redaction import PatternRedactor
    from agentctl.journal.reader import find_journal, read_with_origin
    from agentctl.settings.telemetry import TelemetrySettings
    from agentctl.telemetry.otlp_document import otlp_document, resource_attributes

    loaded = report_settings()
    telemetry = loaded.telemetry or TelemetrySettings()
    path = find_journal(loaded.settings.runs_dir, run_id)
    found = _run_spans(path, with_content=telemetry.with_content, seen=set())
    own = (one for one in read_with_origin(path) if one.get("run_id") == path.stem and one.get("version"))
    version = str(next(own, {}).get("version") or "")
    redact = PatternRedactor(pattern)
    resource = _clean(resource_attributes(telemetry.resource, version), redact)
    document = otlp_document([_clean_span(span, redact) for span in found], resource)
    return json.dumps(document, separators=(",", ":"))


def _run_spans(path: Path, *, with_content: bool, seen: set[Path]) -> list[FinishedSpan]:
    """Return the spans of a run and, before them, of those that it delegated and whose journals are there."""
    from agentctl.cli.error_output import print_warning
    from agentctl.journal.reader import read_with_origin
    from agentctl.telemetry.span_builder import spans_of

    seen.add(path)
    records = list(read_with_origin(path, warn=print_warning))
    found: list[FinishedSpan] = []
    for record in records:
        result = record.get("result") if record.get("run_id") == path.stem else None
        delegated = result.get("delegated") if isinstance(result, dict) else None
        for one in delegated if isinstance(delegated, list) else ():
            name = str(one.get("run_id")) if isinstance(one, dict) else ""
            if name.isalnum() and (child := path.with_name(f"{name}.jsonl")) not in seen and child.is_file():
                found += _run_spans(child, with_content=with_content, seen=seen)
    return [*found, *spans_of(path.stem, records, with_content=with_content)]


def _clean_span(span: FinishedSpan, redact: PatternRedactor) -> FinishedSpan:
    events = tuple(event._replace(attributes=_clean(event.attributes, redact)) for event in span.events)
    return span._replace(name=redact(span.name), attributes=_clean(span.attributes, redact), events=events)


def _clean(attributes: Attributes, redact: PatternRedactor) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {}
    for name, value in attributes.items():
        if isinstance(value, tuple):
            found[name] = tuple(map(redact, value))
        else:
            found[name] = redact(value) if isinstance(value, str) else value
    return found
