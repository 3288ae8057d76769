"""The command line in this process."""

from tests.support.ci_step import step
from tests.support.command_line import agentctl, config, here, state

__all__ = ["agentctl", "config", "here", "state", "step"]
