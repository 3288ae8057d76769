"""``python -m agentctl`` and the ``agentctl`` command."""

from __future__ import annotations

import sys

# ``python -m`` puts the current folder first in ``sys.path``, so a file in it would shadow any module that is imported
# from here on. This line cannot undo earlier imports, and keeps the folder if PYTHONPATH names it, too.
if __name__ == "__main__" and __spec__ is not None and not sys.flags.safe_path:
    del sys.path[0]

import gc
import os
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from agentctl.cli.invocation import Assemble


def _exit(number: int, frame: object) -> NoReturn:
    os._exit(128 + number)


def main(*, assemble: Assemble | None = None) -> NoReturn:
    """Run the command line and exit; after a run, or a signal, skip the interpreter's slow shutdown.

    ``assemble`` replaces the real parts of a run.
    """
    gc.disable()
    import signal  # noqa: PLC0415 - the collector is off before anything loads

    if os.getpid() == 1:
        from agentctl.cli.first_process import leave_to_child  # noqa: PLC0415 - only in containers

        leave_to_child()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):  # until a command handles them
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _exit)  # an import may hide a KeyboardInterrupt
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # load no plugins of other packages; the search takes time, too
    os.environ["TERM"] = os.environ.get("TERM") or "dumb"  # rich, which prints the help, styles it if TERM is empty
    # rich obeys FORCE_COLOR whatever its value is, and in spite of NO_COLOR
    if os.environ.get("NO_COLOR") or os.environ.get("FORCE_COLOR") in ("", "0"):
        os.environ.pop("FORCE_COLOR", None)
    loader = sys.modules["pydantic.plugin._loader"] = ModuleType("pydantic.plugin._loader")
    vars(loader)["get_plugins"] = tuple  # pydantic's loader would import importlib.metadata and email
    from agentctl.cli.streams import open_missing  # noqa: PLC0415

    open_missing()
    from agentctl.cli.app import main as command_line  # noqa: PLC0415

    code = command_line(assemble=assemble)
    if sys.argv[1:2] == ["run"] or code in (129, 130, 143):  # stopped by a signal: no thread is waited for
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
