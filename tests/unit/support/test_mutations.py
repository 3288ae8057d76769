"""The table of mutations fits the code; ``bash tests/run --full`` runs them."""

from __future__ import annotations

from tests.support.mutations import ROOT, find_problem, read_table


def test_the_text_of_each_mutation_is_found_once() -> None:
    found = {one.name: problem for one in read_table() if (problem := find_problem(one, ROOT))}
    assert found == {}


def test_each_test_of_a_mutation_exists() -> None:
    wanted = {test.partition("[")[0] for one in read_table() for test in one.tests}
    missing = set()
    for test in wanted:
        file, _, name = test.partition("::")
        path = ROOT / "tests" / file
        if not path.is_file() or (name and f"def {name.rpartition('::')[2]}(" not in path.read_text(encoding="utf-8")):
            missing.add(test)
    assert missing == set()


def test_the_table_has_mutations_of_every_area() -> None:
    areas = [one.area for one in read_table()]
    assert len(areas) >= 100
    assert set(areas) == {"money", "sandbox", "context", "wire", "cli"}
