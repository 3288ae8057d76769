"""Describe a run as spans and metrics of OpenTelemetry, and send them where the standard variables say.

``span_builder`` makes spans of the records of a journal: of a live run as they come, of a past one for an export, so
that both are the same. ``conventions`` has every name, and the version of the conventions that they are from.
``otlp_document`` writes spans as OTLP JSON. ``span_observer`` is the observer of a live run, and ``sender`` the thread
that sends; only the latter loads the SDK, which is the extra ``otel``.

Enter: ``span_builder.spans_of``, ``span_observer.open_telemetry``. Always: what is sent has passed the redaction of the
journal; prompts, arguments and results are sent only if the standard switch says so; a run ends as it would without
telemetry, at most two seconds later. May import: core, settings, protocols, journal. Never: reads or changes what a run
does, or raises an error into it.
"""
