"""The classes of commands and their parameters: how each is parsed, how its help is laid out, what a shell offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import cleandoc, signature
from typing import Any, NamedTuple, get_args

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from agentctl.cli.options import OUTPUT, canonical

_TEXT = (str, str | None)
_WIDEST = 100
_NARROW = 72  # below it, names stand above their texts
_HYPHEN = "\N{NON-BREAKING HYPHEN}"  # where the formatter must not part a word
_STYLES = {
    r"(?m)^(?:Usage:|[A-Z][\w ]*:$)": "bold",
    r"(?m)(?<=^  )(?:-\w, )?--[\w-]+(?:, --[\w-]+)*": "cyan",
    r"(?m)(?<=^  )[a-z-]+(?=  )": "cyan",
    r"(?m)(?<=^  )# .*$|  # .*$": "dim",
}
_NAMES = 26  # columns for the names of flags, when their texts are in the same row
_CONTEXT = {"help_option_names": ["-h", "--help"], "token_normalize_func": canonical, "max_content_width": _WIDEST}


class HelpText(NamedTuple):
    """The parts of a command's help: what it does, its example command lines, more on it, and notes that stand last."""

    about: str
    examples: tuple[str, ...]
    details: str
    notes: str


def help_text(command: TyperCommand | TyperGroup) -> HelpText:
    """Return the parts of the help of ``command``; its examples are the lines below ``Examples:``."""
    before, _, behind = cleandoc(command.help or "").partition("\n\nExamples:\n")
    about, _, details = before.partition("\n\n")
    examples, _, notes = behind.partition("\n\n")
    return HelpText(" ".join(about.split()), tuple(line.strip() for line in examples.splitlines()), details, notes)


def new_group(
    help: str,
    callback: Callable[..., None],
    commands: Mapping[str, Callable[..., None]],
    *,
    kind: type[Group],
) -> typer.Typer:
    """Return a Typer group of ``commands``."""
    group = typer.Typer(
        cls=kind,
        help=help,
        callback=callback,
        invoke_without_command=True,
        context_settings=_CONTEXT,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        suggest_commands=False,
    )
    for name, command in commands.items():
        add_command(group, name, command)
    return group


def add_command(group: typer.Typer, name: str, command: Callable[..., None]) -> None:
    """Register ``command`` in ``group``; a command with a ``--format`` of its own takes no synonym for ``--output``."""
    own_format = "format" in signature(command).parameters
    context = {**_CONTEXT, "token_normalize_func": str} if own_format else _CONTEXT
    group.command(name, cls=Command, context_settings=context)(command)


def _values(ctx: Any, param: Any, incomplete: str, choices: list[Any]) -> list[Any]:  # noqa: ANN401 - Typer's types
    """Return what a shell offers for a value: the choices that fit, or the values that the command line knows."""
    if choices:
        return choices
    from agentctl.cli.completion.candidates import candidates

    return candidates(ctx, param, incomplete)


class _Option(TyperOption):
    def process_value(self, ctx: Any, value: Any) -> Any:  # noqa: ANN401 - the base class's own types
        """Convert a given value; leave an absent one absent, and take text as it is, without pydantic."""
        text = isinstance(value, str) and self.type_descriptor.annotation in _TEXT
        if text:
            return value if self.callback is None else self.callback(ctx, self, value)
        if value not in (None, ()) or self.required:
            return super().process_value(ctx, value)
        nothing = () if self.multiple else None
        return nothing if self.callback is None else self.callback(ctx, self, nothing)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401 - the base class's own types
        """Return the values that begin with ``incomplete``."""
        return _values(ctx, self, incomplete, super().shell_complete(ctx, incomplete))


class _Argument(TyperArgument):
    def process_value(self, ctx: Any, value: Any) -> Any:  # noqa: ANN401 - the base class's own types
        """Take words as they are; convert anything else, for which Typer imports pydantic."""
        kind = self.type_descriptor.annotation
        if self.callback is None and not self.required:
            if value is None:
                return None
            if kind == list[str] and isinstance(value, tuple):
                return list(value)
        is_word = isinstance(value, str) and (kind is str or value in get_args(kind))
        return value if is_word and self.callback is None else super().process_value(ctx, value)

    def get_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - the base class's own types
        return [] if self.hidden else super().get_usage_pieces(ctx)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401 - the base class's own types
        """Return the values that begin with ``incomplete``."""
        return _values(ctx, self, incomplete, super().shell_complete(ctx, incomplete))


class _Plain:
    """Replace Typer's parameters with ours, and lay out the help as plain text: examples first, then flags by panel.

    Click's formatter wraps it to the terminal, so that nothing is cut.
    """

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - the base class's own types
        """Return the parameters, including ``--help``."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # a mixin: the next class has it
        for param in params:
            if type(param) is TyperOption:
                param.__class__ = _Option
            elif type(param) is TyperArgument:
                param.__class__ = _Argument
        return params

    def get_help(self, ctx: Any) -> str:  # noqa: ANN401 - the base class's own types
        """Return the help, styled where stdout shows styles."""
        return _styled(super().get_help(ctx).replace(_HYPHEN, "-"), ctx)  # type: ignore[misc]  # a mixin

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return what the command does, as a shell describes it."""
        return help_text(self).about  # type: ignore[arg-type]  # a mixin

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - the base class's own types
        """Write usage, what the command does, examples, arguments, flags, commands and notes."""
        parts = help_text(self)  # type: ignore[arg-type]  # a mixin
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)))  # type: ignore[attr-defined]
        formatter.write_paragraph()
        formatter.write_text(parts.about)
        if parts.examples:
            with formatter.section("Examples"):
                for line in _fitting(parts.examples, formatter.width - formatter.current_indent):
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        if parts.details:
            formatter.write_paragraph()
            formatter.write_text(parts.details)
        found = list(sections(self, ctx))
        wide = _names_width((row for _, rows in found for row in rows), formatter.width)
        for title, rows in found:
            with formatter.section(title):
                flags = [(name.ljust(wide), text.replace("-", _HYPHEN)) for name, text in rows if name[0] == "-"]
                formatter.write_dl(flags or rows, col_max=wide if flags else _NAMES)
        if parts.notes:
            formatter.write_paragraph()
            formatter.write(f"{parts.notes}\n")


class Command(_Plain, TyperCommand):
    """A command with our parameters."""


class Group(_Plain, TyperGroup):
    """A group of commands with our parameters."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401 - the base class's own types
        """Return the commands and flags that begin with ``incomplete``; nothing behind a command that is unknown."""
        return [] if ctx._protected_args else super().shell_complete(ctx, incomplete)


def _fitting(examples: Iterable[str], width: int) -> Iterator[str]:
    """Yield the lines of the examples; a comment that does not fit stands on the line above its command."""
    for line in examples:
        command, mark, comment = line.partition("  # ")
        if mark and len(line) > width:
            yield f"# {comment.strip()}"
            yield command.rstrip()
        else:
            yield line


def sections(command: Any, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:  # noqa: ANN401 - Typer's types
    """Yield the commands, the arguments, and the flags of each panel: a title, and names with their texts."""
    panels: dict[str, list[tuple[str, str]]] = {}
    shown = [param for param in command.get_params(ctx) if not param.hidden]
    last = OUTPUT if any(getattr(param, "rich_help_panel", None) == OUTPUT for param in shown) else "Options"
    for param in shown:
        if isinstance(param, TyperArgument):
            panels.setdefault("Arguments", []).append((param.display_name_raw, param.help or ""))
            continue
        title = last if param.name == "help" else param.rich_help_panel or "Options"
        text = "Show this help." if param.name == "help" else param.help or ""
        panels.setdefault(title, []).append((flag_names(param), text))
    if isinstance(command, TyperGroup):
        found = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        yield (
            "Commands",
            [
                (name, help_text(one).about)
                for name, one in found
                if isinstance(one, TyperCommand | TyperGroup) and not one.hidden
            ],
        )
    yield from sorted(panels.items(), key=lambda panel: panel[0] not in ("Arguments", "Options"))


def flag_names(param: TyperOption) -> str:
    """Return the spellings of a flag, the short one first, and the placeholder of its value."""
    choices = [str(choice) for choice in param.type_descriptor.choices or ()]
    names = ", ".join(sorted([*param.opts, *param.secondary_opts], key=lambda name: name.startswith("--")))
    return names if param.is_flag else f"{names} {param.metavar or '|'.join(choices)}"


def _names_width(rows: Iterable[tuple[str, str]], width: int) -> int:
    """Return the columns that the names of flags take in all sections; a longer name stands above its text."""
    widest = max((len(name) for name, _ in rows if name.startswith("-") and len(name) <= _NAMES), default=0)
    return 8 if width < _NARROW and widest > _NAMES // 2 else widest


def _styled(text: str, ctx: Any) -> str:  # noqa: ANN401 - Typer's own type
    """Return the help with its titles, flags and comments styled, where Typer's console finds that stdout shows styles.

    The console knows NO_COLOR, FORCE_COLOR and GITHUB_ACTIONS; a terminal without a name gets no styles either.
    """
    from rich.text import Text
    from typer.rich_utils import _get_rich_console

    console = _get_rich_console()
    is_nameless = console.file.isatty() and not console._environ.get("TERM", "").strip()
    if console.color_system is None or is_nameless:
        return text
    styled = Text(text)
    for pattern, style in _STYLES.items():
        styled.highlight_regex(pattern, style)
    with console.capture() as got:
        console.print(styled, soft_wrap=True, highlight=False, end="")
    ctx.color = True  # so that Click prints the styles that Rich has decided on
    return got.get()
