"""Validate what the command line prints in the tests: each document and each event, against the schema that ships.

``tests.support.command_line`` and the fixtures that read stdout on their own hand it to ``check_output``. The schemas
are closed first: a field that a schema does not name is a failure, although the schema that ships allows it.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from agentctl.cli.schema.command import PRINTED_BY, schema_text
from tests.support import fork_server
from tests.support.json_schemas import closed

#: The schemas of documents, by what a document has in its field ``schema``.
_DOCUMENTS = {f"agentctl.{name}/1": name for name in PRINTED_BY if name != "events"}


def check_output(stdout: str) -> None:
    """Raise unless each document and each event in ``stdout`` is valid; other text is not looked at."""
    for found in _documents(stdout):
        validate(found)


def validate(found: dict[str, Any]) -> None:
    """Raise unless a document, or an event, is valid by its schema; a document that has none is skipped."""
    if "event" in found and "seq" in found:
        validator = _event_validator(str(found["event"]))
        if found["event"] == "run_finished" and "schema" in found:
            validate({name: value for name, value in found.items() if name not in ("event", "seq", "at")})
    elif found.get("schema") in _DOCUMENTS:
        validator = _validator(_DOCUMENTS[str(found["schema"])])
    else:
        return
    wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(found)]
    assert not wrong, f"not valid by its schema: {wrong}\n{json.dumps(found, indent=1)[:4000]}"


def _documents(stdout: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of stdout: one, or one a line; a line that was cut is not one."""
    if not stdout.lstrip().startswith("{"):
        return
    for text in (stdout, *stdout.splitlines()):
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
        if text is stdout:
            return


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = json.loads(schema_text(name))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(closed(schema), format_checker=Draft202012Validator.FORMAT_CHECKER)


@cache
def _event_validator(name: str) -> Draft202012Validator:
    """Return a validator with the branch of this event alone: thirty branches a line would take long."""
    schema = dict(_validator("events").schema)
    branches = schema["allOf"]
    schema["allOf"] = [one for one in branches if one["if"]["properties"]["event"]["const"] == name]
    assert schema["allOf"], f"the schema does not name the event {name}"
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


class _Recorder(io.FileIO):
    """The raw end of a pipe that keeps what was read from it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "rb")
        self.taken = bytearray()

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any buffer
        """Read into the buffer."""
        count = super().readinto(buffer)
        self.taken += memoryview(buffer)[: count or 0]
        return count

    def readall(self) -> bytes:
        """Read to the end."""
        found = super().readall()
        self.taken += found
        return found


class _Checked(subprocess.Popen[Any]):
    """A process of the command line: what was read of its stdout is validated, also if the reader leaves early."""

    def __init__(self, *words: Any, **more: Any) -> None:  # noqa: ANN401 - Popen's own
        super().__init__(*words, **more)
        self._recorder: _Recorder | None = None
        if isinstance(self.stdout, io.BufferedReader):
            plain = self.stdout.detach()
            self._recorder = _Recorder(os.dup(plain.fileno()))
            plain.close()
            self.stdout = io.BufferedReader(self._recorder)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: ANN401
        """Return stdout and stderr, and validate stdout."""
        out, err = super().communicate(input, timeout)
        check_output((out or b"").decode("utf-8", "replace"))
        return out, err

    def __exit__(self, kind: Any, *more: Any) -> None:  # noqa: ANN401 - Popen's own
        super().__exit__(kind, *more)
        if kind is None and self._recorder is not None:
            check_output(self._recorder.taken.decode("utf-8", "replace"))


class CheckedProcess(_Checked):
    """A process that is started as a program."""


class CheckedFork(_Checked, fork_server.Forked):
    """A process that is forked from the server."""
