"""Fixtures of the bill's tests: users of a provider on the wire, whose every step is audited.

Models are called by the client that a run takes by itself. With ``--full`` each test goes by litellm, too; without, the
first case of each test that is marked with ``both_clients``: one of each kind.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bill.fixtures import (  # noqa: F401 - fixtures
    _client,
    _collector,
    _no_sandbox,
    audit,
    cli,
    command,
    litellm_is_loaded,
    shell,
    state,
    user,
    wire,
)

HERE = Path(__file__).parent
BY_LITELLM = "litellm"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test two: one by the usual client, one by litellm."""
    if metafunc.definition.get_closest_marker("own_clients"):
        return
    marked = metafunc.definition.get_closest_marker("both_clients")
    if marked or metafunc.config.getoption("full"):
        metafunc.parametrize("_client", ["auto", BY_LITELLM], indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, without ``--full``, all cases by litellm but the first of each test."""
    if config.getoption("full"):
        return
    seen: set[str] = set()
    left: list[pytest.Item] = []
    for item in items:
        call = getattr(item, "callspec", None)
        if HERE in item.path.parents and call is not None and call.params.get("_client") == BY_LITELLM:
            name = item.nodeid.partition("[")[0]
            if name in seen:
                left.append(item)
            seen.add(name)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
