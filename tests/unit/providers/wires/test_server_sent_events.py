"""The decoder of events: the standard's own rules, and what servers do besides."""

from __future__ import annotations

import json

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from hypothesis import given
from hypothesis import strategies as st

from agentctl.providers.wires.server_sent_events import (
    MOST_EVENT_BYTES,
    AnswerTooLong,
    Event,
    JsonEvents,
    JsonLineDecoder,
    LineReader,
    ServerEvent,
    ServerSentEventDecoder,
)

CUTS = st.lists(st.integers(0, 400), max_size=12)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def decode(data: bytes, cuts: list[int] = []) -> list[ServerEvent]:  # noqa: B006 - not changed
    decoder = ServerSentEventDecoder()
    found = [event for piece in in_pieces(data, cuts) for event in decoder.feed(piece)]
    return found + decoder.close()


def oracle(data: bytes) -> list[ServerEvent]:
    """Return what httpx-sse reads of the same bytes."""
    lines, decoder = SSELineDecoder(), SSEDecoder()
    found = [decoder.decode(line) for line in [*lines.decode(data.decode("utf-8", "replace")), *lines.flush()]]
    return [ServerEvent("" if event.event == "message" else event.event, event.data) for event in found if event]


def parse(data: bytes, cuts: list[int] = []) -> list[Event | None]:  # noqa: B006 - not changed
    events = JsonEvents(ServerSentEventDecoder())
    found = [event for piece in in_pieces(data, cuts) for event in events.feed(piece)]
    return found + events.close()


TEXT = st.text(st.characters(exclude_characters="\r\n\ufeff{", exclude_categories=["Cs"]), max_size=12)
FIELD = st.sampled_from(["data: ", "data:", "data", "event: ", ": ", ":", "id: ", "retry: ", "other: ", " data: "])
LINE = st.builds(lambda name, text: name + (text if name != "data" else ""), FIELD, TEXT) | st.just("")
STREAM = st.lists(st.tuples(LINE, st.sampled_from(["\n", "\r", "\r\n"])), max_size=14)


@given(lines=STREAM, cuts=CUTS)
def test_events_are_those_that_httpx_sse_reads_however_the_bytes_are_cut(
    lines: list[tuple[str, str]], cuts: list[int]
) -> None:
    data = "".join(line + end for line, end in [*lines, ("event: last", "\n"), ("data: whole", "\n"), ("", "\n")])
    # An event without data is none by the standard; httpx-sse reads it as one.
    assert [one for one in decode(data.encode(), cuts) if one.data] == [
        one for one in oracle(data.encode()) if one.data
    ]


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=6), cuts=CUTS)
def test_any_text_in_a_json_string_arrives_whole_however_the_bytes_are_cut(texts: list[str], cuts: list[int]) -> None:
    data = "".join(f"data: {json.dumps({'t': text}, ensure_ascii=False)}\n\n" for text in texts).encode()
    assert parse(data, cuts) == [{"t": text} for text in texts]


def test_several_lines_of_data_are_one_event_with_its_name() -> None:
    assert decode(b'event: delta\ndata: {"a":\ndata:  1}\n\n') == [ServerEvent("delta", '{"a":\n 1}')]
    assert parse(b'event: delta\ndata: {"a":\ndata:  1}\n\n') == [{"a": 1, "type": "delta"}]


def test_a_name_does_not_replace_the_type_that_an_event_gives_itself() -> None:
    assert parse(b'event: one\ndata: {"type": "other"}\n\n') == [{"type": "other"}]


def test_a_mark_of_the_byte_order_hides_no_event() -> None:
    assert decode(b"\xef\xbb\xbfdata: first\n\n") == [ServerEvent("", "first")]
    assert decode(b"\xef\xbb\xbfdata: first\n\n", [1, 2]) == [ServerEvent("", "first")]
    assert decode(b"data: \xef\xbb\xbfinside\n\n") == [ServerEvent("", "\ufeffinside")]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_each_end_of_a_line_ends_one_line(end: str) -> None:
    data = f"data: one{end}data: two{end}{end}data: three{end}{end}".encode()
    for cut in range(len(data)):
        assert decode(data, [cut]) == [ServerEvent("", "one\ntwo"), ServerEvent("", "three")]


def test_marks_that_end_lines_elsewhere_are_text_here() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    assert decode(f"data: {text}\n\n".encode()) == [ServerEvent("", text)]


def test_comments_are_signs_of_life_and_no_events() -> None:
    decoder = ServerSentEventDecoder()
    assert decoder.feed(b": OPENROUTER PROCESSING\n\n:\n") == []
    assert decoder.lines == 3


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert parse(b'data: {"t": "\xff\xe9"}\n\n') == [{"t": "\ufffd\ufffd"}]


def test_the_end_of_the_bytes_ends_an_event() -> None:
    assert parse(b'data: {"a": 1}\n\ndata: {"usage": 2}') == [{"a": 1}, {"usage": 2}]


def test_a_document_outside_of_the_format_is_an_event() -> None:
    assert parse(b'data: {"a": 1}\n{"error": {"message": "it broke"}}\n') == [
        {"a": 1},
        {"error": {"message": "it broke"}},
    ]


DOCUMENT = {"a": {"b": '}{"', "c": [{"d": 1}, {}]}, "e": "\\"}


@pytest.mark.parametrize("indent", [None, 0, 1, 2, "\t"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n\n"])
def test_a_document_over_several_lines_is_one_event(indent: int | str | None, end: str) -> None:
    text = json.dumps(DOCUMENT, indent=indent)
    for data in (text + end, f"\n  {text}{end}", f": life\n\n{text}{end}"):
        for cuts in ([], [1], [7, 8, 9]):
            assert parse(data.encode(), cuts) == [DOCUMENT]
        lines = JsonEvents(JsonLineDecoder())
        assert lines.feed(text.encode()) + lines.feed(end.encode()) + lines.close() == [DOCUMENT]


def test_a_document_that_was_cut_short_swallows_no_event_behind_it() -> None:
    assert parse(b'{"a": {\n"b": 1\ndata: {"c": 2}\n\n') == [None, {"c": 2}]
    lines = JsonEvents(JsonLineDecoder())
    assert lines.feed(b'{"a": {\n{"c": 2}\n') == [None, {"c": 2}]


def test_a_whole_line_is_an_event_without_waiting_for_an_empty_one() -> None:
    events = JsonEvents(ServerSentEventDecoder())
    assert events.feed(b'event: message_stop\ndata: {"type": "message_stop"}\n') == [{"type": "message_stop"}]
    assert events.feed(b'data: {"a": "{"}\n') == [{"a": "{"}]


@pytest.mark.parametrize("mark", [b"data: [DONE]\n", b"data: [DONE]", b"data:[DONE]", b"data: [DONE] "])
def test_the_mark_of_the_end_is_seen_before_its_line_ends(mark: bytes) -> None:
    for cut in range(len(b"data:[DONE]") - 1):
        events = JsonEvents(ServerSentEventDecoder())
        assert events.feed(b'data: {"a": 1}\n\n' + mark[:cut]) == [{"a": 1}]
        assert not events.over
        assert events.feed(mark[cut:]) == []
        assert events.over
        assert events.close() == []
        assert events.over


@pytest.mark.parametrize("mark", ["[done]", '"[DONE]"', "data: [DONE]"])
def test_the_mark_of_the_end_is_known_in_other_spellings(mark: str) -> None:
    events = JsonEvents(ServerSentEventDecoder())
    assert events.feed(f"data: {mark}\n\n".encode()) == []
    assert events.over


def test_braces_in_strings_end_no_line_of_a_document() -> None:
    for text in ('{ "x": "]",\n"y": 1}', '[{"x": "{[",\n"y": "}"}]'):
        assert parse(text.encode()) == (json.loads(text) if text.startswith("[") else [json.loads(text)])


def test_a_server_without_empty_lines_sends_one_event_a_line() -> None:
    events = JsonEvents(ServerSentEventDecoder())
    found = events.feed(b'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n') + events.close()
    assert (found, events.over) == ([{"a": 1}, {"b": 2}], True)


def test_an_event_that_holds_no_json_object_is_none() -> None:
    events = JsonEvents(ServerSentEventDecoder())
    assert events.feed(b"data: hello\n\ndata: [1]\n\ndata:\n\ndata: [DONE]\n\n") == [None, None]
    assert events.over
    lines = JsonEvents(JsonLineDecoder())
    assert lines.feed(b'{"a":' * 100_000 + b"\n") + lines.close() == [None]


def test_text_behind_the_mark_of_the_end_is_none_and_a_usage_is_one() -> None:
    data = b'data: [DONE]\n\ndata: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: {"choices": [], "usage": {}}\n\n'
    assert parse(data) == [{"choices": [], "usage": {}}]


def test_done_inside_a_string_does_not_end_an_answer() -> None:
    events = JsonEvents(ServerSentEventDecoder())
    assert events.feed(b'data: {"t": "[DONE]"}\n\n') == [{"t": "[DONE]"}]
    assert not events.over


def test_lines_of_json_are_events_also_the_last_one_without_an_end() -> None:
    lines = JsonEvents(JsonLineDecoder())
    assert lines.feed(b'{"a": "\xe2\x80') == []
    assert lines.feed(b'\xa8"}\r\n\n{"b": 2}') == [{"a": "\u2028"}]
    assert lines.close() == [{"b": 2}]


@pytest.mark.parametrize("start", [b"", b"data: "])
def test_a_line_without_an_end_is_given_up(start: bytes) -> None:
    decoder = ServerSentEventDecoder()
    decoder.feed(start + b"x" * (MOST_EVENT_BYTES - len(start)))
    with pytest.raises(AnswerTooLong):
        decoder.feed(b"x")


def test_an_event_of_lines_without_an_end_is_given_up() -> None:
    decoder, line = ServerSentEventDecoder(), b"data: " + b"x" * (MOST_EVENT_BYTES // 4) + b"\n"
    assert [decoder.feed(line) for _ in range(3)] == [[], [], []]
    with pytest.raises(AnswerTooLong):
        decoder.feed(line)


@given(data=st.binary(max_size=200), cuts=CUTS)
def test_lines_are_the_same_however_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    whole, reader = LineReader(), LineReader()
    assert [line for piece in in_pieces(data, cuts) for line in reader.feed(piece)] == whole.feed(data)
    assert reader.close() == whole.close()
