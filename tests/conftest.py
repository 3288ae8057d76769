"""What every test gets: asyncio as the runtime, and folders of its own instead of the user's."""

from __future__ import annotations

from pathlib import Path

import hypothesis  # noqa: F401 - loaded after trio, it warns of trio's random numbers, which is an error here
import pytest

pytest_plugins = [
    "tests.support.command_line",
    "tests.support.engine",
    "tests.support.large_results",
    "tests.support.ledger.fixtures",
    "tests.support.processes",
    "tests.support.screen.terminals",
    "tests.support.wire.plugin",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the long forms of the tests")


@pytest.fixture
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether the long forms run, too: what takes minutes and proves that a test can fail."""
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
    for name in ("LLM_PROVIDER", "LLM_MODEL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody: a developer's own one is not for the tests
    for kind in ("STATE", "CONFIG", "CACHE"):
        folder: Path = home / kind.lower()
        monkeypatch.setenv(f"AGENTCTL_{kind}_DIR", str(folder))
