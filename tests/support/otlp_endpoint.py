"""An OTLP/HTTP endpoint on loopback: it decodes what comes with OpenTelemetry's own protobuf classes, and keeps it.

It can also fail as endpoints do: refuse a key, take for ever, answer nonsense, or send the caller elsewhere.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from google.protobuf.json_format import MessageToDict, ParseDict  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

Manner = Literal["takes", "refuses", "is busy", "hangs", "talks nonsense", "redirects"]


@dataclass(slots=True)
class Sent:
    """A span as it was decoded."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    start: int
    end: int
    status: int
    flags: int
    state: str
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    links: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Point:
    """A point of a metric: its attributes, and its sum, count and bounds of buckets."""

    metric: str
    unit: str
    attributes: Mapping[str, Any]
    sum: float
    count: int
    bounds: tuple[float, ...] = ()


@dataclass(slots=True)
class OtlpEndpoint:
    """What came: requests by path with their headers, and the messages."""

    url: str = ""
    manner: Manner = "takes"
    paths: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    traces: list[ExportTraceServiceRequest] = field(default_factory=list)
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def environ(self) -> dict[str, str]:
        """The variable that sends everything here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url}

    @property
    def spans(self) -> list[Sent]:
        return [span for request in self.traces for span in spans_of_request(request)]

    @property
    def resource(self) -> Mapping[str, Any]:
        """The attributes of the service that sent the first spans."""
        return _attributes(self.traces[0].resource_spans[0].resource.attributes)

    @property
    def points(self) -> list[Point]:
        """The points of the last request with metrics: they count from the beginning."""
        found: list[Point] = []
        for resource in self.metrics[-1].resource_metrics:
            for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    about = _attributes(point.attributes)
                    if kind == "histogram":
                        bounds = tuple(point.explicit_bounds)
                        found.append(Point(metric.name, metric.unit, about, point.sum, point.count, bounds))
                    else:
                        found.append(Point(metric.name, metric.unit, about, point.as_double, 1))
        return found


def spans_of_request(request: ExportTraceServiceRequest) -> Iterator[Sent]:
    """Yield the spans of a request, in their order."""
    for span in (one for held in request.resource_spans for scope in held.scope_spans for one in scope.spans):
        yield Sent(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code,
            span.flags,
            span.trace_state,
            _attributes(span.attributes),
            tuple((event.name, _attributes(event.attributes)) for event in span.events),
            tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        )


def read_otlp_json(text: str) -> ExportTraceServiceRequest:
    """Return OTLP JSON as a message; unlike protobuf's JSON, it has ids in hexadecimal digits."""
    import base64
    import json

    def by_bytes(value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, list):
            return [by_bytes(one) for one in value]
        if not isinstance(value, dict):
            return value
        ids = {"traceId", "spanId", "parentSpanId"}
        return {
            name: base64.b64encode(bytes.fromhex(one)).decode() if name in ids else by_bytes(one)
            for name, one in value.items()
        }

    request = ExportTraceServiceRequest()
    ParseDict(by_bytes(json.loads(text)), request)
    return request


def _attributes(pairs: Any) -> dict[str, Any]:  # noqa: ANN401 - protobuf's own container
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:  # noqa: ANN401 - any value
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(one) for one in value.array_value.values)
    return MessageToDict(value) if kind is None else getattr(value, kind)


@contextmanager
def otlp_endpoint(manner: Manner = "takes") -> Iterator[OtlpEndpoint]:
    """Serve on a free port of loopback, in threads, until the end."""
    kept = OtlpEndpoint(manner=manner)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.paths.append(self.path)
            kept.headers.append({name.lower(): value for name, value in self.headers.items()})
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            kept.raw.append(body)
            match kept.manner:
                case "takes":
                    if self.path == "/v1/traces":
                        kept.traces.append(ExportTraceServiceRequest.FromString(body))
                    elif self.path == "/v1/metrics":
                        kept.metrics.append(ExportMetricsServiceRequest.FromString(body))
                    self._answer(200)
                case "refuses":
                    self._answer(401)
                case "is busy":
                    self._answer(503)
                case "redirects":
                    self._answer(307, Location=f"{kept.url}/elsewhere")
                case "hangs":
                    kept.closing.wait()
                case "talks nonsense":
                    self.wfile.write(b"\x00\x01 220 mail.example ESMTP\r\n")

        def _answer(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kept.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kept
    finally:
        kept.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
