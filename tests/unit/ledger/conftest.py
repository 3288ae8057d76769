"""A ledger with a clock that tests turn by hand."""

from importlib.util import find_spec

import pytest

from tests.support.in_memory import tmp_path
from tests.support.ledger.engine_differences import DIFFERENCES
from tests.support.ledger.fixtures import address, clock, engine, ledger, owner, path

__all__ = ["address", "clock", "engine", "ledger", "owner", "path", "tmp_path"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of a ledger over both engines, but for those that differ."""
    if "engine" in metafunc.fixturenames:
        names = {metafunc.module.__name__.rpartition(".")[2], metafunc.function.__name__}
        is_of_both = not names & DIFFERENCES.keys() and find_spec("tests.support.postgres") is not None
        metafunc.parametrize("engine", ["sqlite", "postgres"] if is_of_both else ["sqlite"])
