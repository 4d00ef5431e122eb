"""Server-sent events, put together from pieces of any length."""

import pytest

from engines.events import Event, EventReader

STREAM = (
    b": a comment\r\n\r\n"
    b'event: partial\r\ndata: {"a": 1}\r\n\r\n'
    b"id: 7\nretry: 10\ndata: one\ndata:two\n\n"
    b"event: nothing\n\n"
    b"data: [DONE]\n\n"
)
EVENTS = [
    Event(name="partial", data=b'{"a": 1}'),
    Event(name="message", data=b"one\ntwo"),
    Event(name="message", data=b"[DONE]"),
]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_they_arrive(length: int) -> None:
    reader = EventReader()
    pieces = [STREAM[start : start + length] for start in range(0, len(STREAM), length)]

    assert [event for each in pieces for event in reader.feed(each)] == EVENTS


def test_an_event_is_there_as_soon_as_its_empty_line_is() -> None:
    reader = EventReader()

    assert list(reader.feed(b"data: one\n")) == []
    assert list(reader.feed(b"\n")) == [Event(name="message", data=b"one")]
    assert list(reader.end()) == []


@pytest.mark.parametrize("rest", [b"data: one", b"data: one\n"])
def test_the_last_event_may_lack_its_empty_line(rest: bytes) -> None:
    reader = EventReader()

    assert list(reader.feed(rest)) == []
    assert list(reader.end()) == [Event(name="message", data=b"one")]


def test_data_that_is_not_json_reads_as_nothing() -> None:
    assert Event(name="message", data=b'{"a": 1}').json() == {"a": 1}
    assert Event(name="message", data=b"[DONE").json() is None
