"""Run async code to its end in a thread with its own event loop, whether or not a loop runs here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_thread(work: Callable[[], Awaitable[T]], *, name: str, stop: Callable[[], bool] = lambda: False) -> T:
    """Run ``work()`` in a thread and return its result, or raise what it raises.

    An exception that interrupts the wait (Ctrl-C, a raising signal handler) first calls ``stop`` in the worker's loop,
    to end the work; if that returns False, the work is cancelled. Once the work has ended, the exception is raised
    here. A second interruption does not wait: the work then ends with the process.
    """
    import threading  # noqa: PLC0415 - streaming needs no thread

    import anyio  # noqa: PLC0415
    from anyio.lowlevel import current_token  # noqa: PLC0415

    ended: list[T | BaseException] = []
    inside: list[tuple[Any, anyio.CancelScope]] = []
    done = threading.Event()  # not Thread.join: after an interruption it takes a live thread for a dead one
    leaving = False

    async def within() -> None:
        with anyio.CancelScope() as scope:
            inside.append((current_token().native_token, scope))
            if not leaving:
                ended.append(await work())

    def go() -> None:
        try:
            anyio.run(within)
        except BaseException as error:  # noqa: BLE001 - raised where it belongs, below
            ended.append(error)
        finally:
            done.set()

    def end() -> None:
        if not stop():
            inside[0][1].cancel()

    worker = threading.Thread(target=go, name=name, daemon=True)
    try:
        worker.start()
        done.wait()
    except BaseException:
        leaving = True
        if inside:
            with suppress(RuntimeError):  # its loop has just been closed
                inside[0][0].call_soon_threadsafe(end)
        if worker.ident is not None:
            done.wait()
        raise
    worker.join()
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]
