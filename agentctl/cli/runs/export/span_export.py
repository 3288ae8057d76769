"""The spans of a past run as OTLP JSON, the same that a live run sends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl.cli.runs.export.pattern_redaction import PatternRedactor
    from agentctl.telemetry.spans import Attributes, AttributeValue, FinishedSpan


def export_spans(run_id: str | None, pattern: re.Pattern[str] | None) -> str:
    """Return the spans of a run (None: the last one) on one line, without what matches ``pattern``.

    Raises:
        UsageError: there is no such run.
        StateError: its journal cannot be read.
    """
    import json

    from agentctl.cli.error_output import print_warning, report_settings
    from agentctl.cli.runs.export.pattern_redaction import PatternRedactor
    from agentctl.journal.reader import find_journal, read_with_origin
    from agentctl.settings.telemetry import TelemetrySettings
    from agentctl.telemetry.otlp_document import otlp_document, resource_attributes
    from agentctl.telemetry.span_builder import spans_of

    loaded = report_settings()
    telemetry = loaded.telemetry or TelemetrySettings()
    path = find_journal(loaded.settings.runs_dir, run_id)
    records = list(read_with_origin(path, warn=print_warning))
    own = (one.get("version") for one in records if one.get("run_id") == path.stem and one.get("version"))
    spans = spans_of(path.stem, records, with_content=telemetry.with_content)
    redact = PatternRedactor(pattern)
    resource = _clean(resource_attributes(telemetry.resource, str(next(own, ""))), redact)
    document = otlp_document([_clean_span(span, redact) for span in spans], resource)
    return json.dumps(document, separators=(",", ":"))


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
