"""Tests that start processes, beside ``tests/unit/providers/test_installed_table.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agentctl.providers.installed_prices import TABLE_FILE


def test_the_table_is_found_without_importing_litellm(tmp_path: Path) -> None:
    code = (
        "import sys; from agentctl.providers.catalog import load_catalog; "
        "before = {'tomllib', 'litellm'} & set(sys.modules); "
        "facts = load_catalog().facts('openai', 'gpt-4o-mini'); "
        "print(facts.price.input, sorted(before), 'litellm' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0.15 [] False\n", "")


def test_missing_litellm_is_reported_with_a_hint(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['litellm'] = None; "
        "from agentctl.core.errors import StateError; from agentctl.providers.catalog import load_catalog\n"
        "try: load_catalog().facts('openai', 'gpt-4o-mini')\n"
        "except StateError as error: print(error.message)\n"
        "print(load_catalog().facts('ollama', 'llama3.1', own_host=True).price.is_free)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    said = "the price table is missing: litellm is not installed\nTrue\n"
    assert (done.stdout, done.stderr) == (said, "")
    assert TABLE_FILE.endswith(".json")
