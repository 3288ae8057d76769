"""Read the standard variables of OpenTelemetry: what is sent, to where, of which service, and what keeps it from that.

They are read from the environment alone, as by every other program: no .env file and no project can send a run's spans
anywhere. The exporter reads the rest of them (headers, certificates, compression, its timeout) itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from agentctl.core.text import safe_text

Signal = Literal["traces", "metrics"]

#: The protocol that the exporter of the extra speaks.
PROTOCOL = "http/protobuf"
DEFAULT_ENDPOINT = "http://localhost:4318"
GRPC_PORT, HTTP_PORT = 4317, 4318
PREFIX = "OTEL_"
INSTALL = "pip install 'agentctl-cli[otel]'"
_EXTRA = "opentelemetry.exporter.otlp.proto.http"
CONTENT_SWITCH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_HEADERS = ("OTEL_EXPORTER_OTLP_", "HEADERS")  # how the names of variables with headers begin and end
_WITH_CONTENT = frozenset({"true", "1", "span_only", "span_and_event"})
_WITHOUT_CONTENT = frozenset({"", "false", "0", "no_content", "event_only"})
_SAMPLERS = frozenset({"always_on", "always_off", "traceidratio"})
_DEFAULT_SAMPLER = "parentbased_always_on"
_LEAST_SECRET = 8


class TraceShare(NamedTuple):
    """Which traces are recorded: a share of them, or what their parent says if ``follows_parent``."""

    share: float = 1.0
    follows_parent: bool = True


class TelemetrySettings(NamedTuple):
    """Where spans and metrics go: the address of each signal that is sent, without what is secret in it.

    ``resource`` are the attributes of the service that the user names. ``with_content``: prompts, arguments and results
    are sent, too. ``problems`` are whole sentences about what is asked for and cannot be done.
    """

    endpoints: Mapping[Signal, str] = MappingProxyType({})
    resource: Mapping[str, str] = MappingProxyType({})
    sampling: TraceShare = TraceShare()
    with_content: bool = False
    problems: tuple[str, ...] = ()

    @property
    def sends(self) -> bool:
        """Whether anything is sent."""
        return bool(self.endpoints)


def read_telemetry(environ: Mapping[str, str]) -> TelemetrySettings:
    """Return what the variables ask for; an empty value counts as unset."""
    given = {name: value.strip() for name, value in environ.items() if name.startswith(PREFIX) and value.strip()}
    sampling, wrong_sampler = _sampling(given)
    captured = given.get(CONTENT_SWITCH, "").lower()
    resource = _resource(given)
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return TelemetrySettings(resource=resource, with_content=captured in _WITH_CONTENT)
    endpoints: dict[Signal, str] = {}
    problems: list[str] = []
    for signal in ("traces", "metrics"):
        if not _is_wanted(signal, given, problems):
            continue
        variable = _variable(f"{signal.upper()}_ENDPOINT", "ENDPOINT", given)
        address, protocol = (
            given.get(variable, DEFAULT_ENDPOINT),
            _variable(f"{signal.upper()}_PROTOCOL", "PROTOCOL", given),
        )
        if (spoken := given.get(protocol, PROTOCOL)) != PROTOCOL:
            problems.append(
                f"spans and metrics are not sent: {protocol}={safe_text(spoken)} is not supported; set "
                f"{protocol}={PROTOCOL} and {variable} to the port of the collector for it (usually {HTTP_PORT})"
            )
        elif (shown := _public(address)) is None:
            problems.append(f"spans and metrics are not sent: {variable} is not a URL with http:// or https://")
        else:
            endpoints[signal] = shown
    problems += wrong_sampler if endpoints else []
    if endpoints and captured not in _WITH_CONTENT | _WITHOUT_CONTENT:
        problems.append(f"{CONTENT_SWITCH} is neither true nor false, so no content is sent")
    return TelemetrySettings(endpoints, resource, sampling, captured in _WITH_CONTENT, tuple(dict.fromkeys(problems)))


def has_extra() -> bool:
    """Return whether the extra is installed; it is not loaded."""
    try:
        return find_spec(_EXTRA) is not None
    except ModuleNotFoundError:  # not even its parent
        return False


def header_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of the exporters' headers, as given and decoded, and passwords in their addresses."""
    found: list[str] = []
    for name, value in environ.items():
        if name.startswith(_HEADERS[0]) and name.endswith(_HEADERS[1]):
            found.append(value.strip())
            for pair in value.split(","):
                raw = pair.partition("=")[2].strip()
                for text in (raw, unquote(raw).strip()):
                    found += [text, text.rpartition(" ")[2]]  # "Bearer KEY": the key alone, too
        elif name.startswith(_HEADERS[0]) and name.endswith("ENDPOINT") and "@" in value:
            found += [part for part in value.rpartition("@")[0].rpartition("//")[2].split(":", 1) if part]
    return tuple(dict.fromkeys(text for text in found if len(text) >= _LEAST_SECRET))


def _is_wanted(signal: Signal, given: Mapping[str, str], problems: list[str]) -> bool:
    """Return whether a signal is sent: its exporter is named, or none is named and an address is."""
    name = f"OTEL_{signal.upper()}_EXPORTER"
    if name not in given:
        return any(one in given for one in (_name("ENDPOINT"), _name(f"{signal.upper()}_ENDPOINT")))
    exporters = [one.strip().lower() for one in given[name].split(",") if one.strip()]
    if unknown := [one for one in exporters if one not in ("otlp", "none")]:
        problems.append(f"{name}: agentctl has no exporter {safe_text(', '.join(unknown))}; set it to otlp or none")
    return "otlp" in exporters


def _name(end: str) -> str:
    return f"OTEL_EXPORTER_OTLP_{end}"


def _variable(own: str, shared: str, given: Mapping[str, str]) -> str:
    """Return the name of the variable that counts for a signal: its own if that is set, else the one for all."""
    return _name(own) if _name(own) in given else _name(shared)


def _public(address: str) -> str | None:
    """Return scheme, host and port of an address, None if it is none."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return safe_text(f"{parts.scheme}://{host}{'' if port is None else f':{port}'}")


def _resource(given: Mapping[str, str]) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in given.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    found = {unquote(name.strip()): unquote(value.strip()) for name, mark, value in pairs if mark and name.strip()}
    if service := given.get("OTEL_SERVICE_NAME"):
        found["service.name"] = service
    return found


def _sampling(given: Mapping[str, str]) -> tuple[TraceShare, list[str]]:
    name = given.get("OTEL_TRACES_SAMPLER", _DEFAULT_SAMPLER).lower()
    bare = name.removeprefix("parentbased_")
    if bare not in _SAMPLERS:
        return TraceShare(), [f"OTEL_TRACES_SAMPLER={safe_text(name)} is unknown; every trace is recorded"]
    share = {"always_on": 1.0, "always_off": 0.0}.get(bare)
    if share is None:
        try:
            share = float(given.get("OTEL_TRACES_SAMPLER_ARG", "1"))
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            return TraceShare(), ["OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1; every trace is recorded"]
    return TraceShare(share, bare != name), []
