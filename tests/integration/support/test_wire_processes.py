"""Tests that start processes, beside ``tests/unit/support/test_wire.py``."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.wire.client import body_for


def test_wire_server_runs_by_itself_and_prints_its_address_first() -> None:
    words = ["--answer", "hi", "--input-tokens", "10", "--output-tokens", "1", "--key", "k", "--input-price", "3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.wire.server", *words],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
    sock = socket.create_connection((host, int(port)), timeout=10)
    body = json.dumps(body_for("openai"))
    sock.sendall(
        f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n"
        f"connection: close\r\n\r\n{body}".encode()
    )
    with sock, sock.makefile() as came:
        assert '"content":"hi"' in came.read()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    totals = {"billed_nano": 40_000, "billed": 1, "requests": 1, "chat_requests": 1, "hung_up": 0}
    assert (out, process.returncode) == ("", 0)
    assert json.loads(err) == {**totals, "connections": 1, "most_at_once": 1}
