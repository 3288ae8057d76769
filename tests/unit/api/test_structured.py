"""``schema=`` from Python: a pydantic model gives its object, a JSON Schema the plain value."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import anyio
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from agentctl import BuiltinProvider, DockerAgent, ScriptedProvider
from agentctl.core.errors import UsageError
from tests.support.face import PRICED, journal_of, says

TASK = "How full is the disk?"


class Disk(BaseModel):
    """A model with what JSON Schema cannot say: a validator, a type of Python, an alias."""

    model_config = ConfigDict(strict=True)
    name: str = Field(alias="disk")
    seen: date
    percent: int = Field(ge=0)

    @field_validator("percent")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it is odd")
        return value


RIGHT = '{"disk": "sda", "seen": "2026-11-30", "percent": 50}'


def agent(*answers: str) -> tuple[DockerAgent, ScriptedProvider]:
    provider = ScriptedProvider([*map(says, answers)], facts=PRICED)
    return DockerAgent(provider), provider


def test_a_pydantic_model_gives_its_object() -> None:
    one, _ = agent(RIGHT)
    result = one.execute(TASK, schema=Disk)
    assert result.structured == Disk(disk="sda", seen=date(2026, 11, 30), percent=50)
    assert (result.status, json.loads(str(result))) == ("done", json.loads(RIGHT))
    assert journal_of(result.run_id)[-1]["result"]["structured"] == json.loads(RIGHT)


@pytest.mark.parametrize("schema", [{"type": "object", "required": ["n"]}, "n:int"])
def test_a_json_schema_gives_the_plain_value(schema: Any) -> None:  # noqa: ANN401
    one, _ = agent('{"n": 1}')
    result = anyio.run(lambda: one.execute_async(TASK, schema=schema))
    assert (result.structured, str(result)) == ({"n": 1}, '{"n":1}')


def test_what_a_validator_refuses_is_sent_back_with_its_pointer() -> None:
    one, heard = agent(RIGHT.replace("50", "51"), RIGHT.replace("50", "51"), RIGHT)
    result = one.execute(TASK, schema=Disk)
    assert result.structured.percent == 50
    assert "- /percent: Value error, it is odd\n" in heard.heard[-1].messages[-1].text


def test_a_run_that_ends_otherwise_has_no_object() -> None:
    one, _ = agent(*["No."] * 9)
    result = one.execute(TASK, schema=Disk)
    assert result.error is not None
    assert (result.status, result.error.kind, result.structured) == ("failed", "schema", None)
    assert DockerAgent(BuiltinProvider()).execute(TASK).structured is None


class Listed(RootModel[list[int]]):
    pass


class Odd(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    at: anyio.Event


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (1, "schema cannot be 1"),
        (int, "schema cannot be <class 'int'>"),
        (Disk.model_validate_json(RIGHT), "schema cannot be Disk("),
        (Listed, "Listed /type: the root is of type array; an answer is an object"),
        (Odd, "Odd has no JSON Schema: Cannot generate"),
        ({"type": "array"}, "schema /type: the root is of type array"),
        ("x:y", "schema /properties/x: y is not a type"),
    ],
)
def test_a_schema_that_is_none_is_refused_before_the_run(schema: Any, says: str) -> None:  # noqa: ANN401
    one, heard = agent(RIGHT)
    with pytest.raises(UsageError) as caught:
        one.execute(TASK, schema=schema)
    assert caught.value.message.startswith(says)
    assert caught.value.hint
    assert not heard.heard
