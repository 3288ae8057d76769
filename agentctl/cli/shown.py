"""Commands whose help shows no Python types: a flag takes no value, and an argument is explained by its words."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class _Plain:
    """Leaves out what Typer would write as ``<bool>`` and ``<list[str]>``."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - the base class's own types
        """Return the parameters, the help's own flag among them."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # a mixin: the base stands behind it
        for param in params:
            if isinstance(param, TyperOption) and param.is_flag:
                param.metavar = ""
            elif type(param) is TyperArgument:
                param.__class__ = _Argument
        return params


class _Argument(TyperArgument):
    def display_type_rich(self, ctx: Any) -> None:  # noqa: ANN401 - the base class's own types
        return None


class Command(_Plain, TyperCommand):
    """A command."""


class Group(_Plain, TyperGroup):
    """A group of commands."""
