"""For any set of places, the strongest that speaks wins; and a project file never loosens anything."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.settings.untrusted_files import LOWERABLE, tighten
from tests.support.desk import Desk

PLACES = ("flag", "environment", "env file", "user .env", "user config")
FIELDS = {"max_turns": "AGENTCTL_MAX_TURNS", "max_context_tokens": "MAX_CONTEXT_TOKENS"}

limits = st.none() | st.integers(0, 10**6)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(PLACES), st.integers(1, 10**6)), st.sampled_from(sorted(FIELDS)))
def test_the_strongest_place_wins(written: dict[str, int], field: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        name = FIELDS[field]
        if "user config" in written:
            desk.user_toml(f"{field} = {written['user config']}")
        if "user .env" in written:
            desk.user_env(f"{name}={written['user .env']}")
        if "env file" in written:
            desk.file("x.env", f"{name}={written['env file']}")
        loaded = desk.load(
            {name: str(written["environment"])} if "environment" in written else {},
            flags={field: written.get("flag")},
            env_files=["x.env"] if "env file" in written else [],
        )
        strongest = next((place for place in PLACES if place in written), "default")
        assert loaded.sources[field].kind == strongest
        if strongest != "default":
            assert getattr(loaded.settings, field) == written[strongest]


@settings(max_examples=60)
@given(
    st.none() | st.integers(0, 200),
    st.none() | st.integers(0, 200),
    st.none() | st.integers(0, 200),
)
def test_a_project_file_never_raises_what_was_resolved(flag: int | None, env: int | None, toml: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        flags = {"max_cost_per_task": "none" if flag is None else str(flag)}
        desk.project_env(f"MAX_COST_PER_TASK={'none' if env is None else env}\n")
        toml_limit = '"none"' if toml is None else toml
        desk.project_toml(f"max_cost_per_task = {toml_limit}\n")
        given_limits = [Decimal(limit) for limit in (flag, env, toml) if limit is not None]
        assert desk.load(flags=flags).settings.max_cost_per_task == min(given_limits, default=None)


@given(st.dictionaries(st.sampled_from(LOWERABLE), st.tuples(limits, limits)))
def test_tightened_is_never_above_resolved(pairs: dict[str, tuple[int | None, int | None]]) -> None:
    resolved = {name: old for name, (old, _) in pairs.items()}
    offered = {name: new for name, (_, new) in pairs.items()}
    step = tighten(resolved, offered)
    for name, new in step.changes.items():
        old = resolved[name]
        assert isinstance(new, int)
        assert old is None or new < old
        assert name not in step.loosening


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("abcdef")), st.booleans(), st.booleans())
def test_denials_and_reading_only_never_go_away(old: list[str], new: list[str], before: bool, asked: bool) -> None:
    resolved = {"deny": tuple(old), "read_only": before}
    after = {**resolved, **tighten(resolved, {"deny": tuple(new), "read_only": asked}).changes}
    denied = after["deny"]
    assert isinstance(denied, tuple)
    assert set(denied) == {*old, *new}
    assert after["read_only"] is (before or asked)


LINES = st.sampled_from(
    [
        "MAX_COST_PER_TASK=",
        "AGENTCTL_MAX_TURNS=",
        "max_turns = ",
        "deny = [",
        "'",
        '"',
        "\\",
        "#",
        "\n",
        "\r",
        "=",
        "[",
        "]",
        "0.1",
        "-1",
        "9" * 30,
        "nan",
        "none",
        "OPENAI_API_KEY=",
        "sk-12345678",
        "export ",
        "\t" * 200,
        "\x1b[2J",
        "\u202e",
    ]
)


@settings(max_examples=150)
@given(
    st.lists(LINES).map("".join).map(str.encode) | st.binary(max_size=300), st.sampled_from([".env", ".agentctl.toml"])
)
def test_no_project_file_can_stop_a_run_or_loosen_it(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        before = desk.load().settings
        (desk.cwd / name).write_bytes(content)
        loaded = desk.load()
        after = loaded.settings
        assert after.model_copy(update={field: getattr(before, field) for field in loaded.tightened}) == before
        assert all("\x1b" not in note and "\u202e" not in note for note in loaded.notes)
        assert after.max_cost_per_task is not None
        assert after.max_cost_per_task <= Decimal("0.50")
        assert after.max_turns <= before.max_turns
