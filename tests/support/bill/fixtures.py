"""The command line as a process and in this one, for a user whose provider is a server of the test's."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentctl.providers import litellm_loader
from tests.support.bill.audit import Audit
from tests.support.bill.parts import CLIENT_VARIABLE, PAID, TARIFF, TASK, Here, Paid, priced, reaching
from tests.support.command_line import Commands, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import WireServer


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    yield
    gc.enable()  # a run arranges the collector for a process of its own
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call models by this client in every process of the test."""
    monkeypatch.setenv(CLIENT_VARIABLE, getattr(request, "param", "auto"))


@pytest.fixture(autouse=True)
def _no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without a sandbox, whose self-test takes as long as the rest of a run; tests that need one name it."""
    monkeypatch.setenv("AGENTCTL_SANDBOX", "none")


@pytest.fixture(scope="session")
def litellm_is_loaded() -> None:
    """Load it before a test whose times are short."""
    anyio.run(litellm_loader.wait_for_litellm)


@pytest.fixture
def shell(tmp_path: Path) -> Commands:
    """Run a command as a process: ``shell("run", TASK, **reaching(server, "openai"))``."""
    return Commands(tmp_path)


@pytest.fixture
def state() -> Path:
    """The state folder of this test's commands."""
    return Path(os.environ["AGENTCTL_STATE_DIR"])


@pytest.fixture(autouse=True)
def audit(tmp_path: Path, state: Path) -> Iterator[Audit]:
    """Audit every server that ``wire`` opens against this test's ledgers, at each step."""
    watching = Audit(state / "ledger.db", Here(tmp_path / "user").state / "ledger.db")
    yield watching
    watching.close()


@pytest.fixture
def wire(wire: OpenWire, audit: Audit) -> OpenWire:
    """Open a server that bills by the users' prices, unless told otherwise, and is watched."""

    def opened(*words: Any, **more: Any) -> WireServer:  # noqa: ANN401
        server = wire(*words, **{"rates": TARIFF, **more})
        audit.watch(server.books)
        return server

    return opened


@pytest.fixture
def user(tmp_path: Path) -> Here:
    """A user whose runs take place in this process."""
    return Here(tmp_path / "user")


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Run ``agentctl run TASK`` in this process: quicker, where no process is needed."""
    from agentctl.cli.app import main

    monkeypatch.chdir(tmp_path)

    def run(*words: str, task: str = TASK, env: Mapping[str, str]) -> Ended:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        code = main(("run", "--config", str(priced(tmp_path)), *words, task))
        captured = capfd.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Run any command line in this process and in a folder of its own, for a user of ``server``."""
    from agentctl.cli.app import main

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(server: WireServer, *words: str, paid: Paid = PAID["openai"]) -> Ended:
        for name, value in (reaching(server, paid.format) | {"LLM_MODEL": paid.model}).items():
            monkeypatch.setenv(name, value)
        code = main(words)
        captured = capfd.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
