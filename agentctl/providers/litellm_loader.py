"""Import litellm, in this module only: guarded, in a thread, once per process, without connections of its own.

Unless told not to, litellm reads a ``.env`` in the current folder and fetches prices at import, opens connections of
its own (for Ollama's model facts), and prints on stdout when a call fails. It takes seconds to load.
"""

from __future__ import annotations

import gc
import os
import threading
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from agentctl.core.errors import AgentctlError, UsageError

if TYPE_CHECKING:
    import httpx


class _Loading:
    """The import: one thread for the whole process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.module: ModuleType | None = None
        self.error: AgentctlError | None = None
        self.resumed = False

    def run(self) -> None:
        try:
            self.module = _guarded_import()
        except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
            self.error = UsageError(
                f"litellm cannot be loaded: {type(error).__name__}: {error}",
                hint="reinstall agentctl with the versions pinned in requirements.lock",
            )


_LOADING = _Loading()


def litellm_folder() -> Path | None:
    """Return the folder of the installed litellm, None if it is not installed; the slow import is avoided."""
    try:
        found = find_spec("litellm")
    except ValueError:  # another module has this name, and was not imported from a file
        found = None
    return None if found is None or found.origin is None else Path(found.origin).parent


def start_loading() -> None:
    """Start loading litellm in a thread, at most once; the garbage collector is off until ``resume_gc``."""
    with _LOADING.lock:
        if _LOADING.thread is None:
            gc.disable()  # collecting while this many objects are made nearly doubles the time
            _LOADING.thread = threading.Thread(target=_LOADING.run, name="import litellm", daemon=True)
            _LOADING.thread.start()


def join() -> None:
    """Wait until the import has ended, if it was started."""
    if _LOADING.thread is not None:
        _LOADING.thread.join()


def resume_gc() -> None:
    """Turn the garbage collector on again and freeze the loaded objects, after the first piece of an answer."""
    with _LOADING.lock:
        if not _LOADING.resumed and _LOADING.thread is not None:
            _LOADING.resumed = True
            gc.freeze()
            gc.enable()


async def wait_for_litellm() -> ModuleType:
    """Return litellm, waiting in a thread until it is loaded; the wait may be cancelled.

    Raises:
        UsageError: litellm cannot be loaded.
    """
    import anyio.to_thread  # noqa: PLC0415 - start_loading runs before there is a loop

    start_loading()
    if _LOADING.thread is not None and _LOADING.thread.is_alive():
        await anyio.to_thread.run_sync(join, abandon_on_cancel=True)
    if _LOADING.error is not None:
        raise _LOADING.error
    if _LOADING.module is None:
        raise UsageError("litellm was not loaded")
    return _LOADING.module


def make_client(transport: httpx.AsyncBaseTransport) -> object:
    """Return a client for litellm that sends on ``transport`` only; call it after ``wait_for_litellm``."""
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    return AsyncHTTPHandler(transport=transport, follow_redirects=False)


def _guarded_import() -> Any:  # noqa: ANN401 - a module that mypy does not follow
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no fetch
    os.environ["LITELLM_MODE"] = "PRODUCTION"  # no load_dotenv() in the current directory
    os.environ["EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"] = "True"  # one handler for all, so no SDK is loaded
    from pydantic import BaseModel  # noqa: PLC0415

    BaseModel.model_config["defer_build"] = True  # a call uses a dozen of 1,500: a fifth of the time
    try:
        import litellm
    finally:
        del BaseModel.model_config["defer_build"]
    litellm.suppress_debug_info = True  # it prints advice on stdout
    litellm.drop_params = False  # otherwise it could drop the clamp silently
    litellm.telemetry = False
    litellm.disable_hf_tokenizer_download = True  # it would fetch Llama's in the middle of an answer
    litellm.REPEATED_STREAMING_CHUNK_LIMIT = 10**9  # repeated pieces are not an error: keep a paid answer
    litellm.num_retries = 0
    _silence_logging()
    _block_default_clients(litellm)
    return litellm


def _silence_logging() -> None:
    """Silence litellm's log on stderr, as agentctl reports each failure itself."""
    import logging  # noqa: PLC0415 - only with litellm

    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _block_default_clients(litellm: Any) -> None:  # noqa: ANN401
    """Replace litellm's own clients, so that only a client of ours can connect."""
    import httpx
    from litellm.llms.custom_httpx.http_handler import HTTPHandler

    from agentctl.providers.connections import ClosedTransport  # noqa: PLC0415 - httpx comes with litellm

    shut = httpx.Client(transport=ClosedTransport(), trust_env=False)
    litellm.module_level_client = HTTPHandler(client=shut)
    litellm.client_session = shut
    litellm.aclient_session = httpx.AsyncClient(transport=ClosedTransport(), trust_env=False)
