"""Send spans and metrics by the official exporter for OTLP over HTTP, from a thread of its own. Needs the extra.

The thread loads the SDK while the run begins. It is a daemon: whoever ends the process does not wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from agentctl.settings.telemetry import Signal, TelemetrySettings
from agentctl.telemetry.export_faults import ExportFaults
from agentctl.telemetry.spans import Attributes, FinishedSpan, Measurement

if TYPE_CHECKING:
    from agentctl.telemetry.sdk_exporters import SdkExporters

_PAUSE_S = 5.0  # between batches of spans
_METRICS_S = 60.0  # between two sendings of the metrics
_MOST_WAITING = 4096  # of both together; a collector that hangs for hours does not fill the memory
_BATCH = 512
_LOOK_S = 0.05
_LOADING_S = 20.0  # for the SDK, on a busy machine


class Sender:
    """Sends what it is given to the endpoints of ``settings``, and never blocks or raises.

    ``resource`` are the attributes of the service; metrics get the ``instance``, too, as each process counts from 0.
    """

    def __init__(self, settings: TelemetrySettings, resource: Attributes, *, instance: str) -> None:
        self._settings, self._given, self._instance = settings, resource, instance
        self._queue: SimpleQueue[FinishedSpan | Measurement | None] = SimpleQueue()
        self._faults: ExportFaults | None = None
        self._failed = False
        self._loaded, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="agentctl-telemetry", daemon=True)
        self._thread.start()

    def put(self, built: Iterable[FinishedSpan | Measurement]) -> None:
        """Take spans and measurements to send; those of a signal without an endpoint are dropped."""
        for one in built:
            signal: Signal = "metrics" if isinstance(one, Measurement) else "traces"
            if signal not in self._settings.endpoints or (isinstance(one, FinishedSpan) and not one.context.is_sampled):
                continue
            if self._queue.qsize() < _MOST_WAITING:
                self._queue.put(one)
            else:
                self._failed = True

    def finish(self, within_s: float) -> str:
        """Wait until all is sent, at most ``within_s`` seconds; return why some was not, "" if all was.

        A short run may end before the SDK is loaded; that is waited for, and does not count.
        """
        self._queue.put(None)
        self._loaded.wait(_LOADING_S)
        end = time.monotonic() + within_s
        while not self._done.wait(_LOOK_S) and time.monotonic() < end:
            if self._faults is not None and self._faults.is_hopeless:
                break
        said = self._faults.last if self._faults is not None else ""
        if not self._done.is_set():
            return said or f"no answer within {within_s:g} s"
        return (said or "it failed") if self._failed else ""

    def _run(self) -> None:
        self._faults = faults = ExportFaults()
        try:
            from agentctl.telemetry.sdk_exporters import SdkExporters  # noqa: PLC0415 - it takes a while

            exporters = SdkExporters(self._settings, self._given, self._instance, faults)
            self._loaded.set()
            self._serve(exporters)
        except Exception as error:  # noqa: BLE001 - telemetry never ends a run
            faults.add(error)
            self._failed = True
        finally:
            self._done.set()
            self._loaded.set()
            faults.remove()

    def _serve(self, work: SdkExporters) -> None:
        waiting: list[FinishedSpan] = []
        sent_at = measured_at = time.monotonic()
        while True:
            try:
                one = self._queue.get(timeout=max(0.0, sent_at + _PAUSE_S - time.monotonic()))
                is_last = one is None
            except Empty:
                one, is_last = None, False
            if isinstance(one, Measurement):
                work.record(one)
            elif one is not None:
                waiting.append(one)
            now = time.monotonic()
            if is_last or now >= sent_at + _PAUSE_S or len(waiting) >= _BATCH:
                while waiting:
                    batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
                    self._failed |= not work.send(batch)
                sent_at = time.monotonic()
            if is_last or now >= measured_at + _METRICS_S:
                self._failed |= not work.flush_metrics()
                measured_at = time.monotonic()
            if is_last:
                return
