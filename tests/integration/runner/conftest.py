"""Fixtures: a run whose results are cut to their shares, and the command line."""

from tests.support.command_line import agentctl, here
from tests.support.large_results import house

__all__ = ["agentctl", "here", "house"]
