"""Import pydantic-settings without what only its own command lines need."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType


class _Forwarding(ModuleType):
    """A module that imports the real one when something of it is asked for."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


# pydantic-settings imports asyncio for asynchronous commands of its command lines; `costs` and most others need none.
if "asyncio" not in sys.modules:
    sys.modules["asyncio"] = _forwarding = _Forwarding("asyncio")
    try:
        import_module("pydantic_settings")
    finally:
        if sys.modules.get("asyncio") is _forwarding:
            del sys.modules["asyncio"]
