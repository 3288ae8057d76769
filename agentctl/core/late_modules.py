"""Import a library without the modules that it loads for parts of it that we do not use."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any


class _LateModule(ModuleType):
    """Stands for a module, and imports it when an attribute is read or one of ``functions`` is called."""

    def __init__(self, name: str, functions: tuple[str, ...]) -> None:
        super().__init__(name)
        for function in functions:
            setattr(self, function, partial(self._call, function))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module holds
        if name.startswith("__"):  # the import system asks every module for these
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            sys.modules.pop(self.__name__, None)
        return getattr(import_module(self.__name__), name)

    def _call(self, name: str, *words: object, **options: object) -> object:
        return self.__getattr__(name)(*words, **options)


@contextmanager
def late_modules(functions: Mapping[str, tuple[str, ...]]) -> Iterator[None]:
    """Give imports in the block stand-ins of the modules that ``functions`` names; each loads its module when used.

    A stand-in has the functions that are imported from the module by name; to import another name loads the module.
    Modules that are loaded already stay as they are. Imports after the block get the real modules.
    """
    stand_ins = {name: _LateModule(name, known) for name, known in functions.items() if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
