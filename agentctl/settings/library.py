"""Import pydantic-settings without the modules that only its own command line needs."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType


class _Forwarding(ModuleType):
    """A module that imports the real one on the first access to an attribute."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # the import system asks every module for these
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def _read_dotenv(*words: object, **options: object) -> object:
    """Call dotenv's ``dotenv_values``; our sources never do."""
    return import_module("dotenv").dotenv_values(*words, **options)


# pydantic-settings imports asyncio for asynchronous command lines of its own, and dotenv to read files by itself:
# `costs` needs neither, and most runs have no .env.
_forwarding = {name: _Forwarding(name) for name in ("asyncio", "dotenv") if name not in sys.modules}
if "dotenv" in _forwarding:
    vars(_forwarding["dotenv"])["dotenv_values"] = _read_dotenv
sys.modules.update(_forwarding)
try:
    import_module("pydantic_settings")
finally:
    for _name, _module in _forwarding.items():
        if sys.modules.get(_name) is _module:
            del sys.modules[_name]
