"""The version of agentctl."""

__version__ = "0.1.0"
