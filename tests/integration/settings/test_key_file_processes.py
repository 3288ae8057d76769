"""Tests that start processes, beside ``tests/unit/settings/test_key_file.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


FULL_DISK = """
import resource, sys
from pathlib import Path
from pydantic import SecretStr
from agentctl.core.errors import StateError
from agentctl.settings.key_file import save_key
resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
try:
    save_key(Path(sys.argv[1]), "openai", SecretStr("sk-" + "x" * 100))
except StateError as error:
    print(error.message)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    path.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"user .env {path} cannot be written: file too large; nothing was changed\n"
    assert path.read_text() == "A=1\n"
    assert sorted(found.name for found in tmp_path.iterdir()) == [".env", ".env.lock"]


WRITER = """
import sys
from pathlib import Path
from pydantic import SecretStr
from agentctl.settings.key_file import save_key
sys.stdin.readline()
for turn in range(20):
    save_key(Path(sys.argv[1]), sys.argv[2], SecretStr(f"sk-{turn:02}"))
"""


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nA=1\n")
    path.chmod(0o600)
    providers = ("openai", "anthropic", "groq", "mistral")
    argv = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*argv, provider], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for provider in providers
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == b""
    text = path.read_text()
    assert text.startswith("# mine\nA=1\n")
    assert sorted(text.splitlines()[2:]) == sorted(f"{provider.upper()}_API_KEY=sk-19" for provider in providers)
