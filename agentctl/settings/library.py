"""Import pydantic-settings without the modules that only its own command line needs."""

from __future__ import annotations

from importlib import import_module

import agentctl.core.limits  # noqa: F401 - it imports pydantic
from agentctl.core.late_modules import late_modules

# pydantic-settings imports asyncio for asynchronous command lines of its own, and dotenv to read files by itself:
# `costs` needs neither, and most runs have no .env. importlib.resources, which it imports, unpacks archives with
# tempfile.
with late_modules({"asyncio": (), "dotenv": ("dotenv_values",), "tempfile": ()}):
    import_module("pydantic_settings")
