"""Generate the JSON Schemas of ``agentctl schema`` from the types of the code.

``python -m tests.support.docs_pages`` writes them, with the pages of ``docs/``. A record type needs nothing more: each
event of ``agentctl.core.events.Event`` is in the schema by its fields, its docstring is the description.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from agentctl.cli.agents.agent_types import AgentsDocument
from agentctl.cli.budget.lease_documents import (
    AccountDocument,
    BudgetKeygenDocument,
    BudgetMergeDocument,
    SplitDocument,
)
from agentctl.cli.document_types import CostsDocument, ErrorDocument, Keywords, Moment, PreToolDocument, RunDocument
from agentctl.cli.mcp.live_documents import McpCallDocument, McpToolsDocument
from agentctl.cli.mcp.server_documents import McpServersDocument
from agentctl.cli.runs.run_documents import RunsDiffDocument, RunsRemovedDocument, TranscriptDocument
from agentctl.core.events import Event
from agentctl.journal.writer import event_name

FOLDER = Path(__file__).parents[2] / "agentctl" / "cli" / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}

Schema = dict[str, Any]


def schema_files() -> Mapping[Path, str]:
    """Return the text of each schema that the package ships, by its file."""
    made = {
        "run": Definitions().document(RunDocument),
        "costs": Definitions().document(CostsDocument),
        "transcript": Definitions().document(TranscriptDocument),
        "runs-diff": Definitions().document(RunsDiffDocument),
        "runs-removed": Definitions().document(RunsRemovedDocument),
        "agents": Definitions().document(AgentsDocument),
        "mcp": Definitions().document(McpServersDocument),
        "mcp-tools": Definitions().document(McpToolsDocument),
        "mcp-call": Definitions().document(McpCallDocument),
        "pre-tool": Definitions().document(PreToolDocument),
        "budget-keygen": Definitions().document(BudgetKeygenDocument),
        "split": Definitions().document(SplitDocument),
        "account": Definitions().document(AccountDocument),
        "budget-merge": Definitions().document(BudgetMergeDocument),
        "error": Definitions().document(ErrorDocument),
        "events": events_schema(),
    }
    return {FOLDER / f"{name}.json": json.dumps(schema, indent=1) + "\n" for name, schema in made.items()}


class Definitions:
    """The named types of one schema, each once, in the order in which they were met."""

    def __init__(self) -> None:
        self.known: dict[str, Schema] = {}
        self._kinds: dict[str, type] = {}

    def document(self, kind: type) -> Schema:
        """Return the schema of a document: a typed dict whose field ``schema`` is its name."""
        (name,) = get_args(_hints(kind)["schema"])
        return {**_head(name), **self.fields_of(kind), "$defs": dict(sorted(self.known.items()))}

    def fields_of(self, kind: type) -> Schema:
        """Return the schema of an object with the fields of a class."""
        required, properties = [], {}
        for name, hint in _hints(kind).items():
            if get_origin(hint) is NotRequired:
                (hint,) = get_args(hint)
            else:
                required.append(name)
            properties[name] = self.schema(hint)
        return {"description": _about(kind), "type": "object", "required": required, "properties": properties}

    def schema(self, hint: Any) -> Schema:  # noqa: ANN401 - any annotation
        """Return the schema of the values that an annotation allows, as they are encoded in JSON."""
        origin, parts = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(parts[0], parts[1:])
        if origin in (Union, types.UnionType):
            return _any_of([self.schema(part) for part in parts])
        if origin is Literal:
            return {"type": "string", "enum": list(parts)} if len(parts) > 1 else {"const": parts[0]}
        if origin is tuple and parts[-1] is not Ellipsis:
            items = [self.schema(part) for part in parts]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
            return {"type": "array", "items": self.schema(parts[0])}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.schema(parts[1])}
        if hint in _PLAIN:
            return {"type": _PLAIN[hint]}
        if hint is datetime:
            return self.schema(Moment)
        if hint is Decimal:
            return {"type": "string"}
        if hint in (object, Any):
            return {}
        if is_dataclass(hint) or is_typeddict(hint) or hasattr(hint, "_fields"):
            return self.reference(hint)
        raise TypeError(f"{hint} has no schema")

    def reference(self, kind: type) -> Schema:
        """Return a reference to the schema of a class, which is added once."""
        short, whole = (
            re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
            for name in (kind.__name__.removesuffix("Fields"), kind.__name__)
        )
        name = short if self._kinds.setdefault(short, kind) is kind else whole
        if self._kinds.setdefault(name, kind) is not kind:
            raise TypeError(f"two classes are named {kind.__name__}")
        if name not in self.known:
            self.known[name] = {}  # its fields may refer to it
            self.known[name] = self.fields_of(kind)
        return {"$ref": f"#/$defs/{name}"}

    def _annotated(self, hint: Any, notes: Sequence[object]) -> Schema:  # noqa: ANN401 - any annotation
        made_from = next((note for note in notes if isinstance(note, type)), None)
        if made_from is None:
            found = self.schema(hint)
        elif get_origin(hint) is list:
            found = {"type": "array", "items": self.reference(made_from)}
        else:
            optional = type(None) in get_args(hint)
            found = _any_of([self.reference(made_from), *([{"type": "null"}] if optional else [])])
        for note in notes:
            if isinstance(note, Keywords):
                found = {**found, **note.values}
            elif isinstance(note, str):
                found = {**found, "description": note}
        return found


def events_schema() -> Schema:
    """Return the schema of one line of JSONL: what every event has, and by its name the fields of each.

    A name that the schema does not have is valid: a later version may add it.
    """
    made = Definitions()
    events: dict[str, Schema] = {}
    for kind in get_args(Event):
        name = event_name(kind)
        events[f"{name}_event"] = _event(name, made.fields_of(kind))
    run = made.fields_of(RunDocument)
    journal = events.pop("run_finished_event")
    events["run_finished_in_journal"] = journal
    printed = _event("run_finished", run)
    printed["properties"]["run_id"] = {"type": ["string", "null"]}
    events["run_finished_document"] = {**printed, "description": "The run ended: all fields of the run's document."}
    in_journal, document = ({"$ref": f"#/$defs/run_finished_{form}"} for form in ("in_journal", "document"))
    chosen = {"run_finished": {"if": {"required": ["result"]}, "then": in_journal, "else": document}}
    named = {name.removesuffix("_event"): {"$ref": f"#/$defs/{name}"} for name in events if name.endswith("_event")}
    return {
        **_head("agentctl.events/1"),
        "description": "One event: a line of agentctl run -o jsonl, of agentctl runs show -o jsonl, or of a journal."
        " A reader ignores events and fields that it does not know.",
        "type": "object",
        "required": ["event", "run_id", "seq", "at"],
        "properties": {
            "event": {"type": "string", "description": f"known: {', '.join(sorted({*named, *chosen}))}"},
            "run_id": {"type": ["string", "null"], "description": "null if the run failed before it began"},
            "seq": {"type": "integer", "minimum": 1},
            "at": made.schema(Moment),
        },
        "allOf": [
            {"if": {"properties": {"event": {"const": name}}}, "then": then}
            for name, then in sorted({**named, **chosen}.items())
        ],
        "$defs": dict(sorted({**made.known, **events}.items())),
    }


def _event(name: str, found: Schema) -> Schema:
    envelope = {
        "event": {"const": name},
        "run_id": {"type": "string"},
        "seq": {"type": "integer", "minimum": 1},
        "at": Definitions().schema(Moment),
    }
    properties = {**envelope, **{key: value for key, value in found["properties"].items() if key not in envelope}}
    return {**found, "required": list(dict.fromkeys((*envelope, *found["required"]))), "properties": properties}


def closed(schema: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a schema whose objects have only the members that it names: for tests of what this version writes."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items()}
    is_whole = isinstance(schema.get("properties"), dict) and "required" in schema and "allOf" not in schema
    return {**found, "additionalProperties": False} if is_whole else found


def _head(name: str) -> Schema:
    short, _, number = name.removeprefix("agentctl.").partition("/")
    return {"$schema": DIALECT, "$id": f"urn:agentctl:{short}:{number}", "title": name}


def _any_of(schemas: Sequence[Schema]) -> Schema:
    """Return a schema that allows each of the values; types without anything else are joined."""
    if len(schemas) == 1:
        return schemas[0]
    *rest, last = schemas
    if last == {"type": "null"} and len(rest) == 1 and isinstance(rest[0].get("type"), str) and "enum" not in rest[0]:
        return {**rest[0], "type": [rest[0]["type"], "null"]}
    return {"anyOf": list(schemas)}


def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a class in the order of its fields."""
    hints = get_type_hints(kind, include_extras=True)
    names: Iterator[str] | tuple[str, ...]
    if is_typeddict(kind):
        names = tuple(hints)
    else:
        names = getattr(kind, "_fields", None) or tuple(one.name for one in fields(kind))
    return {name: hints[name] for name in names}


def _about(kind: type) -> str:
    """Return the docstring of a class as one line, without its examples."""
    text = re.split(r"\n\s*>>>", kind.__doc__ or "")[0]
    return " ".join(text.replace("``", "'").split())
