"""The parameters that a model of the chat format refuses, as litellm knows them: data, by family. Pure.

``python -m tests.support.model_parameters`` writes the file from what the installed litellm answers.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("model_parameters.json")


class ModelParameters(NamedTuple):
    """How a model is asked: the field of the clamp, the role of instructions, and the parameters that it refuses."""

    clamp_name: str = "max_tokens"
    system_role: str = "system"
    refused: frozenset[str] = frozenset()


class _Family(NamedTuple):
    provider: str
    models: tuple[str, ...]
    parameters: ModelParameters


def parameters_of(provider: str, model: str) -> ModelParameters:
    """Return how a model of a provider is asked; the first family that has its name counts."""
    return next(
        (
            family.parameters
            for family in _families()
            if family.provider == provider and any(fnmatchcase(model, name) for name in family.models)
        ),
        ModelParameters(),
    )


def checked_litellm() -> str:
    """Return the version of litellm from whose answers the file was written."""
    return str(_document()["litellm"])


@cache
def _families() -> tuple[_Family, ...]:
    return tuple(
        _Family(
            row["provider"],
            tuple(row["models"]),
            ModelParameters(row["clamp_name"], row["system_role"], frozenset(row["refused"])),
        )
        for row in _document()["families"]
    )


@cache
def _document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_bytes())
    return found
