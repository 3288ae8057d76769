"""Options that were not given are not converted: Typer would build a pydantic adapter for each of them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperOption


class QuickOption(TyperOption):
    """A Typer option that costs nothing unless it is given."""

    def process_value(self, ctx: Any, value: Any) -> Any:  # noqa: ANN401 - the base class's own types
        """Convert what was given; nothing stays nothing."""
        if value is None and not self.required and self.callback is None:
            return () if self.multiple else None
        return super().process_value(ctx, value)


def quicken(command: object) -> None:
    """Make every option of ``command``, and of the commands below it, a quick one."""
    for param in getattr(command, "params", ()):
        if type(param) is TyperOption:
            param.__class__ = QuickOption
    for below in getattr(command, "commands", {}).values():
        quicken(below)
