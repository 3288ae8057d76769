"""Why an export failed, in a few words and without an address: what the exporter logs is kept from the screen."""

from __future__ import annotations

import logging
import socket
import threading

from agentctl.core.text import safe_text

_LOGGERS = ("opentelemetry", "urllib3")
_LONGEST = 100  # characters of a server's own words


class ExportFaults(logging.Filter):
    """Takes what the libraries of an exporter log in this thread.

    ``last`` says what went wrong, "" if nothing did; ``errors`` counts what was not sent.

    ``is_hopeless``: nobody listens at the address, so it is not worth waiting for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self.last, self.errors = "", 0
        self.is_hopeless = False

    def install(self) -> None:
        """Filter every logger of those libraries; call it once they are loaded."""
        for name, logger in list(logging.root.manager.loggerDict.items()):
            if name.startswith(_LOGGERS) and isinstance(logger, logging.Logger):
                logger.addFilter(self)

    def remove(self) -> None:
        """Stop filtering."""
        for logger in list(logging.root.manager.loggerDict.values()):
            if isinstance(logger, logging.Logger):
                logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Take a record of this thread, and let every other one pass."""
        if record.thread != self._thread:
            return True
        if record.levelno >= logging.WARNING and record.name.startswith("opentelemetry.exporter"):
            args = record.args if isinstance(record.args, tuple) else ()
            self.errors += record.levelno >= logging.ERROR
            if said := _describe(args):
                self.last = said
            elif record.levelno >= logging.ERROR and not self.last:
                self.last = "it gave no valid answer"
            self.is_hopeless = self.is_hopeless or any(_is_nobody(arg) for arg in args)
        return False

    def add(self, error: BaseException) -> None:
        """Take an exception."""
        self.last = _describe((error,)) or type(error).__name__
        self.is_hopeless = self.is_hopeless or _is_nobody(error)


def _describe(args: tuple[object, ...]) -> str:
    """Return what the arguments of a log record say: an error, or a status with the server's word for it."""
    for arg in args:
        if isinstance(arg, BaseException):
            return _describe_error(arg)
    for place, arg in enumerate(args):
        if isinstance(arg, int) and 100 <= arg < 600:
            words = args[place + 1] if place + 1 < len(args) else ""
            return safe_text(f"HTTP {arg} {words if isinstance(words, str) else ''}".strip()[:_LONGEST])
    return next(
        (safe_text(arg[:_LONGEST]) for arg in args if isinstance(arg, str) and arg not in ("spans", "metrics")), ""
    )


def _describe_error(error: BaseException) -> str:
    causes = _causes(error)
    if any(isinstance(one, ConnectionRefusedError) for one in causes):
        return "connection refused"
    if any(isinstance(one, socket.gaierror) for one in causes):
        return "the host is not known"
    for one in causes:
        for word, said in (("Timeout", "no answer in time"), ("SSL", "TLS failed"), ("Redirect", "it redirects")):
            if word in type(one).__name__:
                return said
    if isinstance(error, ValueError) and str(error).startswith(
        "OTEL_"
    ):  # a variable of the user's that the SDK refuses
        return safe_text(str(error)[:_LONGEST])
    return "it gave no valid answer" if "Connection" in type(error).__name__ else type(error).__name__


def _is_nobody(value: object) -> bool:
    return isinstance(value, BaseException) and any(
        isinstance(one, (ConnectionRefusedError, socket.gaierror)) for one in _causes(value)
    )


def _causes(error: BaseException) -> tuple[BaseException, ...]:
    """Return an error with all errors behind it; requests and urllib3 keep them in several places."""
    found: list[BaseException] = []
    due: list[object] = [error]
    while due and len(found) < 20:
        one = due.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            due += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return tuple(found)
