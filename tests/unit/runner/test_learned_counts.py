"""Learned factors are kept in one small file, which may be missing, broken or not writable."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from agentctl.context.counter import Calibration
from agentctl.runner.learned_counts import FILE, LearnedCounts

NEWS = {"o200k_base": Calibration(1.02, -310.0)}


async def test_learned_factors_are_known_to_the_next_run(tmp_path: Path) -> None:
    book = LearnedCounts(tmp_path / "cache")
    assert book.known("openai", "gpt-4o") == {}
    await book.remember("openai", "gpt-4o", NEWS)
    await book.remember("openai", "gpt-4o", {"rough": Calibration(1.5, 0.0)})
    await book.remember("ollama", "qwen2.5:7b", NEWS)
    again = LearnedCounts(tmp_path / "cache")
    assert again.known("openai", "gpt-4o") == {**NEWS, "rough": Calibration(1.5, 0.0)}
    assert again.known("ollama", "qwen2.5:7b") == NEWS
    assert again.known("openai", "gpt-4") == {}


async def test_file_is_private_to_the_user_and_nothing_else_is_left(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        await LearnedCounts(tmp_path / "cache").remember("openai", "gpt-4o", NEWS)
    finally:
        os.umask(mask)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [FILE]
    assert stat.S_IMODE((tmp_path / "cache" / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


async def test_unchanged_factors_make_no_file(tmp_path: Path) -> None:
    await LearnedCounts(tmp_path / "cache").remember("openai", "gpt-4o", {})
    assert list(tmp_path.iterdir()) == []


def document(row: object) -> bytes:
    models = {"openai/gpt-4o": {"o200k_base": row}}
    return json.dumps({"schema": "agentctl.counts/1", "models": models}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[1, 2]",
        b'{"schema": "agentctl.counts/1"}',
        b'{"schema": "agentctl.counts/2", "models": {"openai/gpt-4o": {"o200k_base": [1, 0]}}}',
        b'{"schema": "agentctl.counts/1", "models": [3]}',
        b'{"schema": "agentctl.counts/1", "models": {"openai/gpt-4o": 3}}',
        document([0.001, 0]),
        document([1, 1e9]),
        document([1, 10**400]),
        document([float("nan"), 0]),
        document(["1", 0]),
        document([1]),
        b"[" * 100_000,
        b" " * (1 << 21),
    ],
)
async def test_broken_or_foreign_file_is_ignored_and_rewritten(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    book = LearnedCounts(tmp_path)
    assert book.known("openai", "gpt-4o") == {}
    await book.remember("openai", "gpt-4o", NEWS)
    assert book.known("openai", "gpt-4o") == NEWS


async def test_a_link_or_a_pipe_in_its_place_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(document([2.0, 0]))
    (tmp_path / FILE).symlink_to(elsewhere)
    book = LearnedCounts(tmp_path)
    assert book.known("openai", "gpt-4o") == {}
    await book.remember("openai", "gpt-4o", NEWS)
    assert elsewhere.read_bytes() == document([2.0, 0])
    (tmp_path / FILE).unlink()
    os.mkfifo(tmp_path / FILE)
    assert book.known("openai", "gpt-4o") == {}


async def test_disk_that_cannot_be_written_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    book = LearnedCounts(tmp_path / "cache")
    await book.remember("openai", "gpt-4o", NEWS)
    assert book.known("openai", "gpt-4o") == {}


async def test_only_the_latest_models_are_kept(tmp_path: Path) -> None:
    book = LearnedCounts(tmp_path)
    rows = {f"ollama/model-{n}": {"o200k_base": [1.0, 0.0]} for n in range(300)}
    book.path.write_text(json.dumps({"schema": "agentctl.counts/1", "models": rows}))
    await book.remember("openai", "gpt-4o", NEWS)
    assert len(json.loads(book.path.read_bytes())["models"]) == 200
    assert book.known("openai", "gpt-4o") == NEWS
