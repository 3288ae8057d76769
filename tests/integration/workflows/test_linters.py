"""actionlint and the published schemas have nothing to say of our workflows, and see what they are there to see."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.docs_blocks import blocks
from tests.support.workflows.linters import actionlint, schema_errors
from tests.support.workflows.machines import ROOT

pytestmark = pytest.mark.needs("workflow linters")
WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), *sorted((ROOT / "configs").glob("github-*.yml"))]
WRONG = """\
on: push
jobs:
  a:
    runs-on: ubuntu-24.04
    steps:
      - run: echo "${{ github.event.pull_request.title }}"
      - run: echo "${{ steps.none.outputs.x }}"
"""


def test_workflows_pass_actionlint() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in WORKFLOWS}
    for block in blocks("yaml"):
        document = yaml.safe_load(block.text)
        if "jobs" in document:
            texts[block.place] = block.text if True in document else f"on: push\n{block.text}"
    found = actionlint({**texts, "wrong.yml": WRONG})
    assert [line for line in found if not line.startswith("wrong.yml:")] == []
    assert len(found) == 2
    assert "potentially untrusted" in found[0]
    assert 'property "none" is not defined' in found[1]


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("github-actions", ROOT / "action.yml"),
        *(("gitlab-ci", path) for path in sorted((ROOT / "configs").glob("gitlab-*.yml"))),
        *(("github-workflows", path) for path in WORKFLOWS),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_files_are_valid_by_the_published_schemas(schema: str, path: Path, tmp_path: Path) -> None:
    assert schema_errors(schema, path) == []
    wrong = yaml.safe_load(path.read_text())
    job = wrong.get("jobs") or wrong.get("runs") or next(one for one in wrong.values() if "script" in one)
    job["nothing of the kind"] = 7
    (tmp_path / "wrong.yml").write_text(yaml.safe_dump(wrong))
    assert schema_errors(schema, tmp_path / "wrong.yml") != []
