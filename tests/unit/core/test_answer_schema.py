"""The schema of an answer: the forms it is given in, what is refused with its pointer, and answers held against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentctl.core.answer_schema import AnswerProblem, AnswerProblems, read_answer_schema
from agentctl.core.errors import UsageError
from agentctl.core.json_values import JSON, join_pointer, split_pointer
from agentctl.core.schema_validation import find_problems

Given = str | Path | Mapping[str, Any]
NAMES = st.sampled_from(["a", "b", "c/d", "e~f", "$ref", "type"])
LEAVES = st.sampled_from(
    [
        {"type": "string"}, {"type": "integer"}, {"type": "number", "minimum": 1}, {"type": ["string", "null"]},
        {"enum": ["x", 1, None]}, {"const": {"a": 1}}, {"type": "string", "pattern": "^[ax]+$", "maxLength": 3}, {},
        {"type": "array", "uniqueItems": True}, {"not": {"type": "object"}}, {"$ref": "#"}, {"$ref": "#/$defs/n"},
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from([1.0, 0.5, "", "x", "ax", "abcd"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=3),
    max_leaves=8,
)


def _combine(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(below, min_size=1, max_size=2)
    members = st.dictionaries(NAMES, below, max_size=3)
    objects = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": members},
        optional={
            "additionalProperties": below | st.booleans(),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b|c"]), below, max_size=1),
            "required": st.lists(NAMES, unique=True, max_size=2),
            "propertyNames": st.just({"maxLength": 1}),
        },
    )
    return (
        objects
        | st.fixed_dictionaries({"type": st.just("array"), "items": below}, optional={"maxItems": st.integers(0, 2)})
        | st.builds(lambda keyword, all_of: {keyword: all_of}, st.sampled_from(["anyOf", "oneOf", "allOf"]), several)
    )


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    parts = st.recursive(LEAVES, _combine, max_leaves=6)
    return {
        "type": "object",
        "properties": {"a": draw(parts), "b": draw(parts)},
        "$defs": {"n": {"type": "object", "properties": {"a": draw(parts)}}},
        **draw(st.fixed_dictionaries({}, optional={"additionalProperties": parts, "required": st.just(["a"])})),
    }


def problems_of(schema: Given, answer: JSON) -> tuple[AnswerProblem, ...]:
    """The problems of an answer, a text or a value, by a schema in any of its forms; empty if it is valid."""
    try:
        read = read_answer_schema(schema)
        read.validate(answer) if isinstance(answer, str) else read.validate_value(answer)
    except AnswerProblems as error:
        return error.problems
    return ()


def refusal(schema: Given) -> str:
    """The message with which a schema is refused, which has a hint too."""
    with pytest.raises(UsageError) as caught:
        read_answer_schema(schema)
    assert caught.value.hint
    return caught.value.message


@settings(max_examples=40)
@given(schemas(), VALUES)
def test_an_answer_is_valid_exactly_when_plain_jsonschema_says_so(schema: dict[str, Any], value: JSON) -> None:
    assume(not _is_endless(schema))
    read = read_answer_schema(schema)
    assert json.loads(read.text) == schema == read.document
    problems = problems_of(schema, value)
    assert bool(problems) == (not Draft202012Validator(schema).is_valid(value))
    for problem in problems:
        place: Any = value
        for key in split_pointer(problem.pointer):
            place = place[int(key) if isinstance(place, list) else key]
        assert len(problem.message) <= 300


def _is_endless(schema: dict[str, Any]) -> bool:
    try:
        read_answer_schema(schema)
    except UsageError as error:
        return "refers to itself without end" in error.message
    return False


@settings(max_examples=20)
@given(st.lists(st.text(alphabet="~/01a", max_size=4), max_size=4))
def test_a_pointer_names_the_keys_it_was_made_of(keys: list[str]) -> None:
    assert split_pointer(join_pointer(keys)) == tuple(keys)


@settings(max_examples=50)
@given(st.text() | st.text(alphabet='{}[]",:truefalsn10.eE-` \n\\ud8'))
def test_any_text_is_valid_or_has_problems(text: str) -> None:
    assert all(problem.message for problem in problems_of('{"type":"object"}', text))


def test_fields_are_the_schema_of_an_object() -> None:
    assert read_answer_schema("name:string, n:int,x:number[],ok?:bool").text == (
        '{"type":"object","properties":{"name":{"type":"string"},"n":{"type":"integer"},'
        '"x":{"type":"array","items":{"type":"number"}},"ok":{"type":"boolean"}},'
        '"required":["name","n","x"],"additionalProperties":false}'
    )


def test_a_file_json_and_a_dict_give_the_same_schema(tmp_path: Path) -> None:
    text = '{"type": "object", "properties": {"ä": {"type": "string"}}}'
    (tmp_path / "s.json").write_text("\ufeff" + text, encoding="utf-8")
    given_as = [text, json.loads(text), tmp_path / "s.json", str(tmp_path / "s.json")]
    read = [read_answer_schema(given) for given in given_as]
    assert read == [read[0]] * 4 == [read_answer_schema("s.json", folder=tmp_path)] * 4
    assert read[0].text == '{"type":"object","properties":{"ä":{"type":"string"}}}'


def test_a_pipe_is_read_as_a_file_is() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b'{"type":"object"}')
    os.close(theirs)
    try:
        assert read_answer_schema(f"/dev/fd/{ours}").text == '{"type":"object"}'
    finally:
        os.close(ours)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("a:strin", "--schema /properties/a: strin is not a type"),
        (" ", "--schema is empty"),
        ("a:string,a:int", "--schema has the field a twice"),
        ("a:string,,b:int", "--schema has '', which is not a field NAME:TYPE"),
        ("missing.json", "--schema missing.json cannot be read: No such file or directory"),
        ("/", "--schema / cannot be read: Is a directory"),
        ("[]", "--schema (the root): it is not a JSON object"),
        ('{"type":"object","type":"object"}', '--schema is not JSON: an object has the key "type" twice'),
        ('{"type":"object","x":NaN}', "--schema is not JSON: NaN is not a JSON number"),
        ({"type": "object", "x": object}, "--schema is not JSON: Object of type type is not JSON serializable"),
        ({"type": "array"}, "--schema /type: the root is of type array; an answer is an object"),
        (
            {"type": ["object", "null"]},
            "--schema /type: the root is of type ['object', 'null']; an answer is an object",
        ),
        ({"properties": {}}, "--schema /type: the root has no type; an answer is an object"),
        ({"type": "object", "minProperties": "1"}, "--schema /minProperties: '1' is not of type 'integer'"),
        (
            {"type": "object", "properties": {"a/b": {"items": {"$ref": "https://h/s.json"}}}},
            "--schema /properties/a~1b/items/$ref: https://h/s.json is not a pointer into this schema; no other one",
        ),
        ({"type": "object", "items": {"$ref": "other.json#/a"}}, "--schema /items/$ref: other.json#/a is not a"),
        ({"type": "object", "not": {"$ref": "#/$defs/a"}}, "--schema /not/$ref: no schema is at #/$defs/a"),
        ({"type": "object", "const": {"a": {}}, "not": {"$ref": "#/const/a"}}, "--schema /not/$ref: no schema is at"),
        ({"type": "object", "items": {"$id": "x"}}, "--schema /items/$id: only the root may have an $id"),
        ({"type": "object", "items": {"$dynamicRef": "#x"}}, "--schema /items/$dynamicRef: $dynamicRef is not support"),
        ({"type": "object", "anyOf": [{"$ref": "#"}]}, "--schema (the root): the schema refers to itself without end"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "--schema /$schema: http://json-schema.org/draft-07/"),
        (
            {"type": "object", "properties": {"a": {"pattern": "a("}}},
            "--schema /properties/a/pattern: the regular expression 'a(' does not compile: missing ) at position 2",
        ),
        (
            {"type": "object", "patternProperties": {"(a{1,100}){10,101}": {}}},
            "--schema /patternProperties/(a{1,100}){10,101}: the regular expression '(a{1,100}){10,101}' repeats more",
        ),
        (
            {"type": "object", "unevaluatedProperties": False, "patternProperties": {"a": {}}},
            "--schema /unevaluatedProperties: unevaluatedProperties with patternProperties is not supported",
        ),
    ],
)
def test_a_schema_is_refused_with_the_pointer_of_the_place(schema: Given, message: str) -> None:
    assert refusal(schema).startswith(message)


def test_a_schema_above_64_kb_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_bytes(b"{" * (64 * 1024 + 1))
    assert refusal(str(tmp_path / "big.json")).endswith("big.json is above 64 kB")
    assert refusal("{" * (64 * 1024 + 1)) == "--schema is above 64 kB"
    assert "not JSON" in refusal("{" * (64 * 1024))


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def test_a_schema_may_be_nested_23_objects_deep() -> None:
    assert not problems_of(nested(23), {"a": {}})
    assert refusal(nested(24)) == "--schema (the root): the schema is nested more than 48 levels deep"


def test_schemas_that_multiply_for_one_value_are_refused() -> None:
    doubling = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(14)}
    doubled = {"type": "object", "$defs": {**doubling, "d14": {}}, "properties": {"a": {"$ref": "#/$defs/d0"}}}
    assert "one value would be held against more than 5000 schemas" in refusal(doubled)
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(40)}
    chained = {"type": "object", "$defs": {**chain, "d40": {}}}
    assert refusal(chained) == "--schema /$defs/d8: more than 32 schemas for one value are within each other"


@pytest.mark.parametrize(("links", "said"), [(1, "200 levels"), (2, "20,000 values")])
def test_a_schema_that_is_long_with_its_references_written_out_is_refused(links: int, said: str) -> None:
    """Counting what a provider makes of it would take for ever, or pass the depth of calls that Python allows."""
    names = [f"a{n}" for n in range(links)]
    defs = {f"d{n}": {"properties": {key: {"$ref": f"#/$defs/d{n + 1}"} for key in names}} for n in range(100)}
    long = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**defs, "d100": {}}}
    assert refusal(long) == f"--schema (the root): with its $refs written out the schema has more than {said}"


def test_an_answer_that_would_take_for_ever_is_refused() -> None:
    twice = read_answer_schema({"type": "object", "properties": {"a": {"allOf": [{"$ref": "#"}] * 2}}})
    value: dict[str, Any] = {}
    for _ in range(90):
        value = {"a": value}
    assert find_problems(twice.text, value, steps=5_000) == [("", "validating it takes too long")]


def test_a_match_that_backtracks_is_stopped() -> None:
    for keyword, wanted in (("patternProperties", {"(a|a)*$": {}}), ("propertyNames", {"pattern": "(a|a)*$"})):
        schema = read_answer_schema({"type": "object", keyword: wanted})
        found = find_problems(schema.text, {"a" * 60 + "!": 1}, pattern_s=0.02)
        assert found == [("", "validating it takes too long")]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "Expecting value"),
        ("Here it is: {}", "Expecting value"),
        ("{} {}", "Extra data"),
        ("```json\n{}\n```\n```\n{}\n```", "Extra data"),
        ('{"a": 1, "a": 2}', 'an object has the key "a" twice'),
        ('{"a": Infinity}', "Infinity is not a JSON number"),
        ('{"a": -1e999}', "the number -1e999 is out of range"),
        ('{"a": 1' + "0" * 309 + "}", "the number 1000"),
        ('{"a": "\\ud83d"}', "half a surrogate pair"),
        ('{"a":' * 101 + "1" + "}" * 101, "nested more than 100 levels deep"),
        ("[" * 60_000 + "]" * 60_000, "nested more than 100 levels deep"),
    ],
)
def test_an_answer_that_is_not_one_json_value_is_refused(answer: str, fault: str) -> None:
    (problem,) = problems_of('{"type":"object"}', answer)
    assert problem.pointer == ""
    assert problem.message.startswith("not one JSON value: ")
    assert fault in problem.message


@pytest.mark.parametrize("answer", [' {"a": 1}\n', '```\n{"a": 1}\n```', '```json\r\n{"a": 1}\r\n```\n\n', '{"a":1}'])
def test_an_answer_may_stand_in_one_fence(answer: str) -> None:
    assert read_answer_schema("a:int").validate(answer) == {"a": 1}


def test_the_problems_of_an_answer_name_the_nearest_alternative() -> None:
    schema = {
        "type": "object",
        "properties": {
            "at": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"h": {"type": "integer"}}}]}
        },
        "required": ["at", "zone"],
    }
    assert problems_of(schema, {"at": {"h": "x"}}) == (
        AnswerProblem("/at/h", "'x' is not of type 'integer'"),
        AnswerProblem("", "'zone' is a required property"),
    )


def test_at_most_20_problems_are_told_and_a_long_message_is_cut_in_its_middle() -> None:
    found = problems_of("a:int[]", {"a": ["x" * 1000] * 30})
    assert len(found) == 20
    assert found[0].message.endswith("xxx' is not of type 'integer'")
    assert len(found[0].message) == 300


def test_a_multiple_of_a_decimal_fraction_is_exact() -> None:
    money = {"type": "object", "properties": {"usd": {"multipleOf": 0.01}}}
    assert not problems_of(money, {"usd": 0.07})
    assert problems_of(money, {"usd": 0.075})


def test_a_check_of_the_caller_finds_what_else_is_wrong() -> None:
    def check(value: JSON) -> list[tuple[str, str]]:
        return [] if value == {"a": 1} else [("/a", "it is not 1")]

    schema = replace(read_answer_schema("a:int"), check=check)
    assert schema.validate('{"a": 1}') == {"a": 1}
    for answer, told in (('{"a": 2}', "/a: it is not 1"), ("{}", "'a' is a required property")):
        with pytest.raises(AnswerProblems) as caught:
            schema.validate(answer)
        assert str(caught.value) == told


STRICT = read_answer_schema("a:string,b:int[]").document


@pytest.mark.parametrize(
    ("schema", "fitting"),
    [
        (STRICT, "openai anthropic ollama"),
        ({**STRICT, "required": ["a"]}, "anthropic ollama"),
        ({**STRICT, "additionalProperties": True}, "ollama"),
        ({"type": "object"}, "ollama"),
        ({"$defs": {"a": STRICT}, "$ref": "#/$defs/a"}, "ollama"),
        ({"type": "object", "properties": {"a": True}}, ""),
    ],
)
def test_a_root_fits_what_a_provider_takes(schema: Given, fitting: str) -> None:
    read = read_answer_schema(schema)
    assert [subset for subset in ("openai", "anthropic", "ollama") if read.fits(subset)] == fitting.split()


@pytest.mark.parametrize(
    ("part", "fitting"),
    [
        ({"type": "string", "pattern": "^a+$"}, "openai anthropic ollama"),
        ({"type": "string", "pattern": "a+"}, "openai anthropic"),
        ({"type": "string", "pattern": "^(?=a)a$"}, ""),
        ({"type": "string", "format": "uri"}, "anthropic ollama"),
        ({"type": "string", "maxLength": 3}, "ollama"),
        ({"type": "integer", "minimum": 1}, "openai ollama"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, "openai ollama"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2000}, "openai"),
        ({"type": "array"}, "anthropic ollama"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "openai anthropic ollama"),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, "ollama"),
        ({"type": "string", "default": "x"}, "anthropic ollama"),
        ({"enum": ["x", "y"]}, "anthropic ollama"),
        (
            {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
            "openai anthropic ollama",
        ),
        ({"$ref": "#/$defs/n"}, "openai ollama"),
        ({"description": "anything"}, ""),
        ({"type": "string", "uniqueItems": True}, "ollama"),
    ],
)
def test_a_part_fits_what_a_provider_takes(part: dict[str, Any], fitting: str) -> None:
    tree = {"type": "array", "items": {"$ref": "#/$defs/n"}}
    document = {**STRICT, "properties": {"a": part}, "required": ["a"]}
    test_a_root_fits_what_a_provider_takes({**document, "$defs": {"n": tree}} if "$ref" in part else document, fitting)


def test_a_large_schema_does_not_fit_a_strict_provider() -> None:
    assert read_answer_schema(",".join(f"f{n}:int" for n in range(100))).fits("openai")
    assert not read_answer_schema(",".join(f"f{n}:int" for n in range(101))).fits("openai")
    optional = [",".join(f"f{n}?:int" for n in range(most)) for most in (24, 25)]
    assert [read_answer_schema(fields).fits("anthropic") for fields in optional] == [True, False]
    deep: dict[str, Any] = {"type": "integer"}
    for level in range(6):
        assert read_answer_schema(deep).fits("openai") if level else True
        deep = {**STRICT, "properties": {"a": deep}, "required": ["a"]}
    assert not read_answer_schema(deep).fits("openai")


def test_reading_a_schema_loads_jsonschema_and_nothing_else_does() -> None:
    code = (
        "import sys\nimport agentctl.core.answer_schema as it\nlate = {'jsonschema', 'referencing', 'regex'}\n"
        "print(sorted(late & sys.modules.keys()))\nit.read_answer_schema('a:int').validate('{\"a\":1}')\n"
        "print(sorted(late & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n['jsonschema', 'referencing']\n"
