"""The command line as a process of its own, at a pipe, at a terminal and in a tmux."""

from tests.support.bill.fixtures import _no_sandbox
from tests.support.command_line import agentctl, config, here, shell, state
from tests.support.screen.terminals import at_terminal, on_screen

__all__ = ["_no_sandbox", "agentctl", "at_terminal", "config", "here", "on_screen", "shell", "state"]
