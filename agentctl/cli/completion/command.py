"""``agentctl completion``: print a shell's completion script, or the manual page."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Printed = Literal["bash", "zsh", "fish", "man"]


def completion(
    context: typer.Context,
    what: Annotated[Printed, typer.Argument(metavar="bash|zsh|fish|man", help="Shell, or man for the manual page.")],
) -> None:
    """Print the completion script of a shell, or the manual page.

    Examples:
        source <(agentctl completion bash)  # in ~/.bashrc
        source <(agentctl completion zsh)  # in ~/.zshrc
        agentctl completion fish | source  # in config.fish
        agentctl completion man | man -l -  # read the manual
    """
    root = context.find_root()
    if what == "man":
        from agentctl.cli.completion.manual import manual

        print(manual(root))
        return
    from agentctl.cli.completion.shells import SHELLS

    print(SHELLS[what](root.command, {}, "agentctl", "_AGENTCTL_COMPLETE").source().rstrip())
