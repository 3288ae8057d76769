"""What a run by the lean client loads before its first request: our own modules, httpx, and what the settings need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import KEY, ROOT
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer

#: Records when each module was looked for, and keeps those that were loaded.
WATCHED = """
import json, os, runpy, sys, time
class Watch:
    when = {}
    def find_spec(self, name, path=None, target=None):
        self.when.setdefault(name, time.monotonic())
def leave(code):
    loaded = {name: at for name, at in Watch.when.items() if sys.modules.get(name) is not None}
    open(file, "w").write(json.dumps(loaded))
    end(code)
sys.meta_path.insert(0, Watch())
end, os._exit = os._exit, leave
file, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_module("agentctl", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    leave(ended.code or 0)
"""
#: Libraries that a lean run may load, by the name of their top package.
ALLOWED = {
    *("anyio", "sniffio", "typer", "shellingham", "platformdirs", "typing_extensions"),
    *("pydantic", "pydantic_core", "pydantic_settings", "annotated_types", "typing_inspection", "annotated_doc"),
    *("httpx", "httpcore", "h11", "idna", "certifi"),
    # httpcore loads these where they are installed, as they are here:
    *("h2", "hpack", "hyperframe", "trio", "outcome", "sortedcontainers", "attr", "attrs"),
}
FORBIDDEN = {
    *("mcp", "mcp_types", "httpx2", "agentctl.tools.mcp", "agentctl.settings.mcp_servers"),
    *("litellm", "openai", "anthropic", "tiktoken", "aiohttp", "aiodocker", "psutil", "dotenv", "tomlkit"),
    *("httpx._main", "click", "rich", "rich.markdown", "pygments", "pydantic.plugin._loader", "importlib.metadata"),
    *("agentctl.providers.litellm_client", "agentctl.providers.builtin.match", "agentctl.cli.ui.live"),
}


def loaded_before_the_request(wire: OpenWire, folder: Path, *words: str, **environ: str) -> tuple[set[str], set[str]]:
    """Run the command in a cold process; return what it had loaded when its request arrived, and in all."""
    server, found = wire(Answer("Hello.")), folder / "loaded.json"
    own = {"HOME": str(folder), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY}
    for kind in ("STATE", "CONFIG", "CACHE"):
        own[f"AGENTCTL_{kind}_DIR"] = str(folder / kind)
    addresses = {"OPENAI_BASE_URL": server.openai_url, "ANTHROPIC_BASE_URL": server.url, "OLLAMA_HOST": server.url}
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(found), "run", *words, "Say hello."],
        cwd=work,
        env={**own, **addresses, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "Hello.\n"), done.stderr
    loaded = json.loads(found.read_text())
    return {name for name, at in loaded.items() if at < server.books.chat_requests[0].at}, set(loaded)


WIRES = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "ollama": "llama3.1"}


@pytest.mark.parametrize("provider", WIRES)
def test_lean_run_loads_only_what_its_first_request_needs(wire: OpenWire, tmp_path: Path, provider: str) -> None:
    words = ("--agent", "system", "--provider", provider, "-m", WIRES[provider], "--via", "lean")
    before, ever = loaded_before_the_request(wire, tmp_path, *words, ANTHROPIC_API_KEY=KEY)
    assert before & FORBIDDEN == set()
    assert ever & FORBIDDEN == set(), "nor behind it"
    libraries = {name.partition(".")[0] for name in before} - sys.stdlib_module_names - {"agentctl"}
    assert {name for name in libraries if not name.startswith("_sysconfigdata_")} - ALLOWED == set()
    assert "agentctl.providers.lean_client" in before


def test_docker_agent_loads_its_client_only_for_a_call(wire: OpenWire, tmp_path: Path) -> None:
    before, ever = loaded_before_the_request(wire, tmp_path, "--agent", "docker", "-m", "openai/gpt-4o-mini")
    assert before & FORBIDDEN == ever & FORBIDDEN == set()


def test_litellm_is_loaded_where_it_was_asked_for(wire: OpenWire, tmp_path: Path) -> None:
    before, _ = loaded_before_the_request(wire, tmp_path, "--via", "litellm", "-m", "openai/gpt-4o-mini")
    assert "litellm" in before
    assert "agentctl.providers.lean_client" not in before
