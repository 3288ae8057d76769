"""The SDK's own spans, metrics and exporters, made of ours. The only module that imports the extra."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import requests
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from agentctl.core.trace_context import TraceContext
from agentctl.core.version import __version__
from agentctl.settings.telemetry import TelemetrySettings
from agentctl.telemetry import conventions as names
from agentctl.telemetry.export_faults import ExportFaults
from agentctl.telemetry.otlp_document import is_remote
from agentctl.telemetry.spans import Attributes, FinishedSpan, Measurement

_SDK: Mapping[str, str] = MappingProxyType(
    {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": sdk_version,
    }
)
_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
_SCOPE = InstrumentationScope(names.SCOPE, __version__, names.SCHEMA_URL)


class SdkExporters:
    """Sends spans and metrics to the endpoints that are set; ``faults`` takes what the exporters log meanwhile.

    Metrics have the ``instance`` in their resource, as each process counts from 0.
    """

    def __init__(self, settings: TelemetrySettings, given: Attributes, instance: str, faults: ExportFaults) -> None:
        faults.install()
        self._faults = faults
        self._resource = Resource({**_SDK, **given}, names.SCHEMA_URL)
        self._limits = SpanLimits()
        session = requests.Session()
        session.max_redirects = 0  # headers with keys go to the address that the user named, and to no other
        self._spans = OTLPSpanExporter(session=session) if "traces" in settings.endpoints else None
        self._meters: MeterProvider | None = None
        self._record: dict[str, Callable[..., Any]] = {}
        if "metrics" in settings.endpoints:
            self._open_metrics(instance, session)

    def _open_metrics(self, instance: str, session: requests.Session) -> None:
        # Without an interval the reader has no thread of its own: it is flushed in this one.
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(session=session), export_interval_millis=math.inf)
        resource = self._resource.merge(Resource({"service.instance.id": instance}))
        self._meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = self._meters.get_meter(names.SCOPE, __version__, names.SCHEMA_URL)
        for name, bounds in names.BUCKETS.items():
            histogram = meter.create_histogram(
                name, names.UNITS[name], names.DESCRIPTIONS[name], explicit_bucket_boundaries_advisory=bounds
            )
            self._record[name] = histogram.record
        cost = meter.create_counter(names.COST, names.UNITS[names.COST], names.DESCRIPTIONS[names.COST])
        self._record[names.COST] = cost.add

    def send(self, spans: list[FinishedSpan]) -> bool:
        """Send spans; return whether the endpoint took them."""
        if self._spans is None:
            return True
        return self._spans.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS

    def record(self, measurement: Measurement) -> None:
        """Add a value to its metric."""
        self._record[measurement.metric](measurement.value, measurement.attributes)

    def flush_metrics(self) -> bool:
        """Send the metrics as they stand; return whether the endpoint took them."""
        before = self._faults.errors
        if self._meters is not None:
            self._meters.force_flush()
        return self._faults.errors == before

    def _readable(self, span: FinishedSpan) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            context=_context(span.context),
            parent=None if span.parent is None else _context(span.parent, is_remote=is_remote(span)),
            resource=self._resource,
            attributes=self._bounded(span.attributes),
            events=[Event(event.name, self._bounded(event.attributes), event.at_ns) for event in span.events],
            links=[Link(_context(link)) for link in span.links],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR if span.is_error else StatusCode.UNSET),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=_SCOPE,
        )

    def _bounded(self, attributes: Attributes) -> BoundedAttributes:
        """Return attributes within the limits of OTEL_SPAN_ATTRIBUTE_* and OTEL_ATTRIBUTE_*."""
        limits = self._limits
        return BoundedAttributes(
            limits.max_span_attributes, dict(attributes), immutable=True, max_value_len=limits.max_span_attribute_length
        )


def _context(context: TraceContext, *, is_remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.is_sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([context.state]) if context.state else TraceState()
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote, flags, state)
