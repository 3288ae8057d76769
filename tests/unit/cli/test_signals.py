"""Signals that come faster than they are handled."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from agentctl.cli import signals

STORM = 5_000  # far above the depth of calls that Python allows


class Ended(BaseException):
    """Stand-in for the end of the process."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Collect the exit codes that the process would have ended with; a signal comes at each step of the end."""
    codes: list[int] = []
    left = STORM

    def again() -> None:
        nonlocal left
        if left:
            left -= 1
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGQUIT)

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr(signals, "_SAME_KEY_S", 0)
    monkeypatch.setattr(signals, "restore_terminal", again)
    monkeypatch.setattr("os._exit", end)
    monkeypatch.setattr("signal.pthread_kill", lambda *_: None)
    with signals.handle_signals():
        yield codes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGQUIT, 131)])
def test_signals_during_a_forced_exit_do_not_begin_it_again(
    exits: list[int], capfd: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    stops: list[str] = []
    with signals.when_stopped(stops.append):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Ended):
            signal.raise_signal(number)
    assert (stops, exits) == (["Ctrl-C"], [code])
    assert capfd.readouterr().err.count("forced exit") == (code == 130)
