"""Fixtures of every test: asyncio as the runtime, and its own folders instead of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis  # loaded after trio, it warns of trio's random numbers, which is an error here
import pytest

from agentctl.providers import early_connection, litellm_loader
from tests.support import machine

pytest_plugins = [
    "tests.support.certificates",
    "tests.support.command_line",
    "tests.support.denied_paths",
    "tests.support.engine",
    "tests.support.json_run",
    "tests.support.large_results",
    "tests.support.ledger.connections",
    "tests.support.ledger.fixtures",
    "tests.support.ledger.older_schemas",
    "tests.support.machine_walk",
    "tests.support.postgres.fixtures",
    "tests.support.processes",
    "tests.support.screen.terminals",
    "tests.support.wire.plugin",
]


#: The most examples that a property test draws; with --full as many as the test sets.
FEW, USUAL = 10, 40
# No deadline: how long an example takes depends on the machine.
hypothesis.settings.register_profile("full", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
for _name, _most in (("few", FEW), ("usual", USUAL)):
    hypothesis.settings.register_profile(_name, hypothesis.settings.get_profile("full"), max_examples=_most)
hypothesis.settings.load_profile("usual")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the long forms of the tests")
    parser.addoption("--few", action="store_true", help="draw few examples, and leave slow tests out")
    parser.addoption("--first-cases", action="store_true", help="of each test with parameters run the first case only")


def pytest_configure(config: pytest.Config) -> None:
    """Set how many Hypothesis examples are drawn."""
    for name in ("full", "few"):
        if config.getoption(name):
            hypothesis.settings.load_profile(name)


@pytest.fixture(scope="session", autouse=True)
def no_early_connections() -> Iterator[None]:
    """Let no test in this process open a connection to a provider's own address ahead of a request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(early_connection, "open_early", lambda url: None)
        yield


@pytest.fixture(autouse=True)
def litellm_loads_within_a_test() -> Iterator[None]:
    """Wait at the end of a test for the import of litellm that it started.

    A package that litellm needs sets a warnings filter while it is imported. pytest puts the filters of the whole
    process back after each test: in the middle of the import, the warning that was to be ignored would be an error.
    """
    yield
    litellm_loader.join()


def pytest_report_header() -> list[str]:
    """Return what is missing on this machine, and which tests that skips."""
    return machine.told()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect slow tests if asked to, and cap the number of Hypothesis examples."""
    if config.getoption("few"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    if config.getoption("first_cases"):
        _deselect_later_cases(config, items)
    if config.getoption("full") and not config.getoption("few"):
        return
    most = FEW if config.getoption("few") else USUAL
    for item in items:
        for holder, name in (
            (getattr(item, "function", None), "_hypothesis_internal_use_settings"),
            (getattr(item, "cls", None), "settings"),
        ):
            drawn = getattr(holder, name, None)
            if isinstance(drawn, hypothesis.settings) and drawn.max_examples > most:
                setattr(holder, name, hypothesis.settings(drawn, max_examples=most))


def _deselect_later_cases(config: pytest.Config, items: list[pytest.Item]) -> None:
    first: dict[tuple[object, str], pytest.Item] = {}
    for item in items:
        first.setdefault((item.parent, getattr(item, "originalname", item.name)), item)
    kept = set(first.values())
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, what needs more than the machine has."""
    for mark in item.iter_markers("needs"):
        machine.need(*mark.args)


@pytest.fixture
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether the long forms run too: they take minutes and prove that the tests can fail."""
    return bool(request.config.getoption("full"))


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio; tests of core rooms ask for both by ``both_runtimes``."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    ci = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "TF_BUILD", "BITBUCKET_BUILD_NUMBER")
    for name in (*ci, "JENKINS_URL", "AGENTCTL_CHILD", "AGENTCTL_PARENT_RUN", "AGENTCTL_PARENT_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    chosen = ("LLM_PROVIDER", "LLM_MODEL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    for name in chosen:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody: a developer's own one is not for the tests
    for kind in ("STATE", "CONFIG", "CACHE"):
        folder: Path = home / kind.lower()
        monkeypatch.setenv(f"AGENTCTL_{kind}_DIR", str(folder))
