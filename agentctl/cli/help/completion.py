"""``agentctl completion``: the script that teaches a shell our words."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Shell = Literal["bash", "zsh", "fish"]


def completion(
    context: typer.Context, shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="The shell to teach.")]
) -> None:
    """Print a shell's completion script.

    For bash: source <(agentctl completion bash)
    """
    from typer.completion import shell_complete

    shell_complete(context.find_root().command, {}, "agentctl", "_AGENTCTL_COMPLETE", f"source_{shell}")
