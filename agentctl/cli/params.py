"""Commands whose help shows no Python types, and whose parameters cost nothing unless they are given.

Typer would write ``<bool>`` beside each flag, and build a pydantic adapter for each parameter, given or not.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class _Option(TyperOption):
    def process_value(self, ctx: Any, value: Any) -> Any:  # noqa: ANN401 - the base class's own types
        """Convert what was given; nothing stays nothing."""
        if value not in (None, ()) or self.required:
            return super().process_value(ctx, value)
        nothing = () if self.multiple else None
        return nothing if self.callback is None else self.callback(ctx, self, nothing)


class _Argument(TyperArgument):
    def process_value(self, ctx: Any, value: Any) -> Any:  # noqa: ANN401 - the base class's own types
        """Take words as they are; convert what is no list of words."""
        words = self.type_descriptor.annotation == list[str] and isinstance(value, tuple) and not self.required
        return list(value) if words and self.callback is None else super().process_value(ctx, value)

    def display_type_rich(self, ctx: Any) -> None:  # noqa: ANN401 - the base class's own types
        return None


class _Plain:
    """Puts our parameters in the place of Typer's; a flag's help takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - the base class's own types
        """Return the parameters, the help's own flag among them."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # a mixin: the base stands behind it
        for param in params:
            if type(param) is TyperOption:
                param.__class__ = _Option
            elif type(param) is TyperArgument:
                param.__class__ = _Argument
            if isinstance(param, TyperOption) and param.is_flag:
                param.metavar = ""
        return params


class Command(_Plain, TyperCommand):
    """A command."""


class Group(_Plain, TyperGroup):
    """A group of commands."""
