"""The parent run as read from the environment, and the variables passed on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agentctl.core.errors import ActionDenied
from agentctl.core.limits import Parent
from agentctl.settings import load_settings
from agentctl.settings.lineage import (
    child_variables,
    find_parent,
    inherited_variables,
    is_inside_a_run,
    refuse_incomplete,
)
from agentctl.settings.show import explain

RUN, CAPABILITY, MARK = "AGENTCTL_PARENT_RUN", "AGENTCTL_PARENT_CAPABILITY", "AGENTCTL_CHILD"
SECRET = "0123456789abcdef" * 4
BOTH = {RUN: "a1b2", CAPABILITY: SECRET}


@pytest.mark.parametrize(
    ("environ", "parent"),
    [
        ({}, None),
        ({RUN: "", CAPABILITY: ""}, None),
        ({MARK: "0a0b-no-run"}, None),
        (BOTH, Parent("a1b2", SECRET)),
        ({**BOTH, MARK: "0a0b"}, Parent("a1b2", SECRET)),
        ({**BOTH, MARK: "0a0b-no-run"}, Parent("a1b2", SECRET)),
        ({RUN: " a1b2\n", CAPABILITY: f" {SECRET} "}, Parent("a1b2", SECRET)),
        ({MARK: "0a0b"}, Parent("", "")),
        ({MARK: ""}, Parent("", "")),
        ({MARK: "0a0b", RUN: "", CAPABILITY: ""}, Parent("", "")),
        ({RUN: "a1b2"}, Parent("a1b2", "")),
        ({MARK: "0a0b", RUN: "a1b2", CAPABILITY: "  "}, Parent("a1b2", "")),
        ({CAPABILITY: SECRET}, Parent("", SECRET)),
    ],
)
def test_parent_of_a_process_is_read_from_its_environment(environ: Mapping[str, str], parent: Parent | None) -> None:
    assert find_parent(environ) == parent
    assert is_inside_a_run(environ) == (parent is not None)
    if parent is None or (parent.run_id and parent.capability):
        refuse_incomplete(parent)
    else:
        with pytest.raises(ActionDenied) as refused:
            refuse_incomplete(parent)
        assert refused.value.hint
        assert SECRET not in str(refused.value) + refused.value.hint


def test_a_parent_is_loaded_and_its_capability_is_a_secret_that_no_command_shows(tmp_path: Path) -> None:
    loaded = load_settings(flags={}, environ={**BOTH, "HOME": str(tmp_path)}, cwd=tmp_path, remember=False)
    assert loaded.parent == Parent("a1b2", SECRET)
    assert SECRET in loaded.secrets
    assert [note for note in loaded.notes if "AGENTCTL" in note] == [], "they are no unknown settings"
    assert SECRET not in repr(loaded)
    assert SECRET not in str(explain(loaded))


def test_no_file_makes_a_run_a_child_or_takes_its_parent_away(tmp_path: Path) -> None:
    env_file = tmp_path / "some.env"
    for text, environ, parent in (
        (f"{RUN}=x\n{CAPABILITY}=y\n", {}, None),
        (f"{RUN}=\n{CAPABILITY}=\n{MARK}=\n", BOTH, Parent("a1b2", SECRET)),
    ):
        env_file.write_text(text)
        found = load_settings(flags={}, environ=environ, cwd=tmp_path, env_files=[env_file], remember=False)
        assert found.parent == parent


def test_each_run_has_a_capability_of_256_bits_of_its_own(tmp_path: Path) -> None:
    loaded = load_settings(flags={}, environ={}, cwd=tmp_path, remember=False)
    one, other = loaded.for_a_run(), loaded.for_a_run()
    assert loaded.capability == ""
    assert len({one.capability, other.capability}) == 2
    assert len(bytes.fromhex(one.capability)) == 32
    assert one.capability in one.secrets
    assert one.capability not in repr(one)


def test_child_variables_make_their_reader_a_child_and_are_passed_on_unchanged() -> None:
    handed = child_variables("a1b2", SECRET, Path("/state"))
    assert handed == {**BOTH, "AGENTCTL_STATE_DIR": "/state"}
    assert find_parent(handed) == Parent("a1b2", SECRET)
    assert inherited_variables({**handed, "OTHER": "x", MARK: "0a0b"}) == BOTH
    assert inherited_variables({RUN: "a1b2"}) == {RUN: "a1b2"}, "half of it stays half of it, and is refused"
    assert inherited_variables({}) == {}
