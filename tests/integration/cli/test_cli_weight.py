"""Which modules each command loads: a quick command stays quick."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.certificates import Certificate
from tests.support.command_line import HEAVY_MODULES, ROOT, Here, loaded_by_all, loaded_modules
from tests.support.probe_host import Host, page

#: OpenSSL, which takes 5 MB, and what loads it.
OPENSSL = {"_ssl", "ssl", "_hashlib", "hashlib", "hmac", "secrets"}
#: What sends spans.
TELEMETRY = ("opentelemetry", "google.protobuf", "requests")
#: Modules that a builtin answer must not load: pydantic's plugins, Typer's adapters, those that handle the
#: conversation of a language model, and those for connections.
NOT_FOR_BUILTIN = {
    "importlib.metadata",
    "email",
    "zipfile",
    "typer._adapters",
    "dotenv.main",
    "psutil",
    "ctypes",
    "agentctl.cli.ci.reports",
    "agentctl.context.counter",
    "agentctl.context.window_check",
    "agentctl.providers.probe",
    "agentctl.runner.summaries",
    "agentctl.settings.named_choice",
    "agentctl.settings.named_providers",
    "http.client",
    "httpx._main",
    "rich.markdown",
    *OPENSSL,
    "anyio._core._sockets",
    "asyncio.sslproto",
    "random",
    "tempfile",
}


def test_command_without_a_run_loads_no_heavy_library() -> None:
    loaded = loaded_by_all(("config", "show"), ("runs", "list"), ("run", "list"), ("providers", "list"))
    assert loaded & {*HEAVY_MODULES, "asyncio", "rich"} == set()


def test_an_export_loads_the_template_library_for_html_alone(here: Here) -> None:
    assert here("run", "-q", "look around", script="tools").code == 0
    forms = [("runs", "show"), *(("runs", "export", "--format", form) for form in ("md", "json", "otlp"))]
    loaded = loaded_by_all(*forms)
    assert not loaded & {"jinja2", "markupsafe", "asyncio"}
    assert not any(name.startswith(TELEMETRY) for name in loaded)
    assert "jinja2" in loaded_modules("runs", "export", "--format", "html")


def test_the_help_loads_nothing_below_the_command_line() -> None:
    loaded = loaded_modules("--help")
    assert loaded & {*HEAVY_MODULES, "asyncio"} == set()
    assert "rich" in loaded
    ours = {name for name in loaded if name.startswith("agentctl.") and ".cli" not in name}
    assert ours == {"agentctl.core", "agentctl.core.errors", "agentctl.core.impact"}


def test_command_without_settings_loads_no_settings_library() -> None:
    loaded = loaded_by_all(("--help",), ("--version",), ("run", "--help"), ("completion", "bash"), ("help",))
    assert loaded & {"pydantic", "pydantic_settings", "dotenv", "tomlkit", "agentctl.settings"} == set()


def test_a_topic_without_a_terminal_loads_neither_rich_nor_the_settings() -> None:
    loaded = loaded_by_all(("help",), ("help", "budget"), ("help", "environment"), ("help", "permissions-and-sandbox"))
    assert (
        loaded & {*HEAVY_MODULES, "rich", "asyncio", "pydantic", "agentctl.settings", "agentctl.cli.ui.markdown"}
        == set()
    )


def test_config_editor_is_loaded_only_by_commands_that_change_the_config() -> None:
    run = ("run", "--provider", "builtin", "How much memory is used?")
    loaded = loaded_by_all(("config", "show"), ("costs",), run)
    assert {"pydantic_settings", "agentctl.settings.model"} <= loaded
    assert "tomlkit" not in loaded
    assert "tomlkit" in loaded_modules("config", "set", "max_turns", "5")


def test_a_start_looks_for_no_plugin_of_pydantic() -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "agentctl", "costs"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pydantic_settings.main" in names
    assert names & {"importlib.metadata", "email", "asyncio", "pydantic.plugin._loader"} == set()


def test_the_settings_library_loads_neither_asyncio_nor_dotenv() -> None:
    program = (
        "import sys, agentctl.settings, pydantic_settings.main as m; assert not {'asyncio', 'dotenv'} & {*sys.modules};"
        "run = m.asyncio.run; import asyncio; assert run is asyncio.run; assert sys.modules['asyncio'] is asyncio"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_costs_loads_the_ledger_and_no_more() -> None:
    assert loaded_modules("costs") & {*HEAVY_MODULES, *OPENSSL, "rich", "agentctl.runner.orchestrator"} == set()


def test_the_list_of_models_loads_the_price_table_and_no_library_of_providers() -> None:
    loaded = loaded_modules("models", "gpt-4o")
    assert "agentctl.providers.catalog" in loaded
    assert loaded & {"rich", "litellm", "openai", "httpx", "http.client", "aiohttp"} == set()


def test_a_run_loads_no_screen_library_and_no_engine() -> None:
    loaded = loaded_modules("run", "How much memory is used?")
    assert not any("hook" in name for name in loaded if name.startswith("agentctl")), "this user has no hooks"
    assert not any("mcp" in name for name in loaded), "this user has no MCP servers"
    assert not any("telemetry" in name or name.startswith(TELEMETRY) for name in loaded), "no variable asks for it"
    assert "agentctl.runner.assemble" in loaded
    assert loaded & {"rich", "litellm", "aiodocker", "aiohttp", "openai", "httpx"} == set()


def test_an_ollama_that_is_not_there_costs_a_run_no_http() -> None:
    loaded = loaded_modules("config", "check")
    assert "agentctl.providers.selection" in loaded
    assert loaded & {"http.client", "ssl", "urllib.request", "litellm", "httpx"} == set()


def test_an_ollama_that_answers_costs_a_run_no_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    with Host({"/api/tags": page({"models": []})}) as host:
        monkeypatch.setenv("OLLAMA_HOST", host.url)
        for words in (["config", "check"], ["run", "How much memory is used?"]):
            loaded = loaded_modules(*words)
            assert ("http.client" in loaded, loaded & {"litellm", "httpx", "httpcore"}) == (True, set())
    assert len(host.heard) == 2


@pytest.mark.parametrize("words", [["providers", "test", "--free", "ollama"], ["doctor"]])
def test_a_provider_is_asked_by_httpx_without_its_command_line(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Host({"/api/tags": page({"models": []})}) as host:
        monkeypatch.setenv("OLLAMA_HOST", host.url)
        monkeypatch.setenv("LLM_PROVIDER", "ollama")
        loaded = loaded_modules(*words)
    assert host.heard
    assert "httpx" in loaded
    assert loaded & {"httpx._main", "pygments", "litellm", "openai"} == set()


def test_a_builtin_answer_loads_nothing_of_a_language_model_and_no_plugins(tmp_path: Path) -> None:
    words = ["run", "--provider", "builtin", "How much disk is free?"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "agentctl", *words],
        cwd=ROOT,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "agentctl.runner.orchestrator" in loaded
    assert loaded & NOT_FOR_BUILTIN == set()


def test_a_process_that_has_answered_without_tls_can_still_use_it(certificate: Certificate, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from agentctl.cli.app import main\n"
        "assert main(['run', '--provider', 'builtin', 'How much disk is free?']) == 0\n"
        "assert not {'ssl', 'asyncio.sslproto', 'anyio._core._sockets'} & {*sys.modules}\n"
        "import asyncio, ssl, anyio\n"
        "served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)\n"
        "served.load_cert_chain(*sys.argv[1:])\n"
        "trusting = ssl.create_default_context(cafile=sys.argv[1])\n"
        "async def answer(reader, writer):\n"
        "    writer.write((await reader.readline()).upper())\n"
        "    writer.close()\n"
        "async def work():\n"
        "    async with await asyncio.start_server(answer, '127.0.0.1', 0, ssl=served) as server:\n"
        "        port = server.sockets[0].getsockname()[1]\n"
        "        async with await anyio.connect_tcp('127.0.0.1', port, ssl_context=trusting) as stream:\n"
        "            await stream.send(b'hello\\n')\n"
        "            print(await stream.receive())\n"
        "anyio.run(work)\n"
    )
    argv = [sys.executable, "-c", program, str(certificate.path), str(certificate.key)]
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["b'HELLO\\n'"]), done.stderr
