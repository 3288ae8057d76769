"""``python -m agentctl`` and the ``agentctl`` command."""

from __future__ import annotations

import sys

# ``python -m`` puts the current folder first: a file in it would take the place of any module that is imported from
# here on. What put it there before is too late for this line, and what names it again (PYTHONPATH) stays.
if __name__ == "__main__" and __spec__ is not None and not sys.flags.safe_path:
    del sys.path[0]

import gc
import os
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from agentctl.cli.invocation import Assemble


def main(*, assemble: Assemble | None = None) -> NoReturn:
    """Run the command line and leave; after a run without tearing the interpreter down, which costs time.

    ``assemble`` replaces the real parts of a run.
    """
    gc.disable()
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # no code of strangers in here; looking for it takes time, too
    loader = sys.modules["pydantic.plugin._loader"] = ModuleType("pydantic.plugin._loader")
    vars(loader)["get_plugins"] = tuple  # the module that looks for it imports importlib.metadata and email
    try:
        from agentctl.cli.streams import open_missing  # noqa: PLC0415 - the collector is off before anything loads

        open_missing()
        from agentctl.cli.app import main as command_line  # noqa: PLC0415

        code = command_line(assemble=assemble)
    except KeyboardInterrupt:  # before a command could listen
        os._exit(130)
    if sys.argv[1:2] == ["run"]:
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
