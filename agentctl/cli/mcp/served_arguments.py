"""The tools of `agentctl mcp serve` as a host reads them, which is short as it costs tokens, and their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from agentctl.core.errors import UsageError
from agentctl.core.limits import Dollars

LONGEST_TASK = 1024 * 1024
_NO_FURTHER = ConfigDict(frozen=True, extra="forbid")


class NothingGiven(BaseModel):
    """The arguments of a tool that takes none."""

    model_config = _NO_FURTHER


class RunTaskArguments(BaseModel):
    """The arguments of ``run_task``."""

    model_config = _NO_FURTHER

    task: Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_TASK, pattern=r"\S")]
    agent: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None
    model: Annotated[StrictStr, Field(min_length=1, max_length=200)] | None = None
    max_cost_usd: Dollars | None = None
    timeout_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = None
    read_only: StrictBool = True
    answer_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class RunsShowArguments(BaseModel):
    """The arguments of ``runs_show``."""

    model_config = _NO_FURTHER

    run_id: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None


class ServedToolSpec(NamedTuple):
    """A tool as a host reads it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    arguments: type[BaseModel]
    only_reads: bool = True


def served_tools(*, is_cost_required: bool) -> tuple[ServedToolSpec, ...]:
    """Return the tools of a server; ``is_cost_required``: each call of ``run_task`` says what it may cost."""
    text, number = {"type": "string"}, {"type": "number", "exclusiveMinimum": 0}
    run_task = {
        "task": {**text, "description": "all that the agent needs to know"},
        "max_cost_usd": {"type": "number", "minimum": 0, "description": "most that it may cost"},
        "agent": {**text, "description": "default: by the task"},
        "model": {**text, "description": "model or provider/model"},
        "timeout_s": number,
        "read_only": {"type": "boolean", "default": True, "description": "false: changes that the rules allow"},
        "schema": {"type": "object", "description": "JSON Schema of the answer"},
    }
    required = ["task", "max_cost_usd"] if is_cost_required else ["task"]
    return (
        ServedToolSpec(
            "run_task",
            "Run a task with an agent on this machine (files, containers, system) within a dollar limit. Returns the"
            " result document: answer, status, cost.",
            _object(run_task, *required),
            RunTaskArguments,
            only_reads=False,
        ),
        ServedToolSpec("costs", "What the runs of this server cost, by run and model.", _object({}), NothingGiven),
        ServedToolSpec("budget", "What is left of the limit of this server.", _object({}), NothingGiven),
        ServedToolSpec(
            "runs_show",
            "Records of one run of this server.",
            _object({"run_id": {**text, "description": "default: the last"}}),
            RunsShowArguments,
        ),
    )


def read_arguments(spec: ServedToolSpec, given: Mapping[str, Any]) -> BaseModel:
    """Return the arguments of a call.

    Raises:
        UsageError: they are not valid; no value is repeated.
    """
    try:
        return spec.arguments.model_validate(given)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, wrong["loc"])) or "the arguments"
        raise UsageError(f"{spec.name}: {place}: {wrong['msg']}", hint="see its input schema") from None


def _object(properties: Mapping[str, Any], *required: str) -> Mapping[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found
