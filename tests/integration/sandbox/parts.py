"""Parts of the tests of process trees: commands that hide or outlive their children, and a wait."""

from __future__ import annotations

import time
from collections.abc import Callable

#: $N is a time to sleep that names the test; every command makes the file $READY once it is on its way.
COMMANDS = {
    "plain": 'touch "$READY"; sleep $N',
    "setsid": 'setsid sleep $N & touch "$READY"; sleep $N',
    "double fork": '(setsid sh -c "sleep $N & sleep $N" &) ; touch "$READY"; sleep $N',
    "nohup": 'nohup sleep $N >/dev/null 2>&1 & touch "$READY"; sleep $N',
    "pipe holder": '(sleep $N; echo late) & touch "$READY"; wait',
    "ignores SIGTERM": 'trap "" TERM; touch "$READY"; sleep $N; sleep $N',
    "stopped": "sh -c 'kill -STOP $$' & touch \"$READY\"; wait; sleep $N",
    "stops itself": 'touch "$READY"; kill -STOP $$',
    "clears its environment": 'env -i setsid sleep $N & touch "$READY"; sleep $N',
    "hides": """env -i setsid sh -c "(sleep $N &) ; setsid sleep $N & exit" & wait; touch "$READY"; sleep $N""",
    "hides as a daemon": """env -i sh -c "(setsid sh -c '(setsid sleep $N &)' &)"; touch "$READY"; sleep $N""",
    "flood": 'touch "$READY"; yes $N',
    "one endless line": 'touch "$READY"; head -c 1G /dev/zero | tr "\\0" x; sleep $N',
    "reads stdin": 'cat; read -r x; touch "$READY"; sleep $N',
    "reads the terminal": 'read -r x </dev/tty; touch "$READY"; sleep $N',
    "forks all the time": 'hop() { (sleep 0.002; hop) & }; hop; touch "$READY"; sleep $N',
    "storm": 'for i in $(seq 60); do setsid sleep $N & done; touch "$READY"; wait',
}
#: What a command leaves behind when it ends.
LEFT_BEHIND = {
    "a child": "sleep $N >/dev/null 2>&1 &",
    "a pipe holder": "sleep $N &",
    "a session of its own": "setsid sleep $N >/dev/null 2>&1 &",
    "a daemon": '(setsid sh -c "sleep $N & sleep $N" >/dev/null 2>&1 &)',
    "a hidden daemon": 'env -i setsid sh -c "(sleep $N &) ; setsid sleep $N & exit" >/dev/null 2>&1; sleep 0.1',
    "one that ignores SIGTERM": "(trap '' TERM; sleep $N; sleep $N) >/dev/null 2>&1 &",
}


def wait_until(fact: Callable[[], object]) -> None:
    """Wait up to 15 s until ``fact()`` is true."""
    for _ in range(1500):
        if fact():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")
