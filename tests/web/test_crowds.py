"""Many clients, slow ones and silent ones: none keeps another out."""

import contextlib
import time

import pytest

from id2face_jax.web import connections, intake
from tests.web.serving import (
    answer_of,
    connect,
    parse,
    post_open,
    request,
    send,
    serving,
    wait_for,
)


def open_connections(page):
    return len(page._server.server_state.connections)


def test_idle_sockets_and_slow_senders_keep_nobody_out():
    with serving() as page, contextlib.ExitStack() as open_sockets:
        for _ in range(300):
            open_sockets.enter_context(connect(page))
        half = [send(page, "GET / HTTP/1.1") for _ in range(20)]
        slow = [post_open(page, b"a", length=50_000_000) for _ in range(8)]
        for connection in half + slow:
            open_sockets.enter_context(connection)
        wait_for(lambda: len(page.intake) == 8)
        began = time.monotonic()
        for connection in slow:
            connection.sendall(b"b")
        assert request(page, "GET", "/")[0] == 200
        body = request(page, "POST", "/anonymize", b"ninth" * 200_000)[2]
        assert parse(body)[1] == b"htnin" * 200_000
        assert time.monotonic() - began < 5
        assert len(page.intake) == 8 and len(page.jobs) == 0


def test_more_idle_sockets_than_there_are_connections_keep_nobody_out(monkeypatch):
    monkeypatch.setattr(connections, "MAX_IDLE", 20)
    with serving() as page, contextlib.ExitStack() as open_sockets:
        first = [open_sockets.enter_context(connect(page)) for _ in range(60)][0]
        assert request(page, "GET", "/")[0] == 200
        wait_for(lambda: open_connections(page) <= 20)
        # The oldest was let go, the newest are still there.
        assert answer_of(first) == b""


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: "])
def test_who_says_nothing_is_let_go(monkeypatch, head):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with serving() as page:
        connection = connect(page)
        connection.sendall(head)
        assert answer_of(connection) == b""


def test_who_drips_a_head_is_let_go(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with serving() as page, connect(page) as connection:
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            for letter in b"GET / HTTP/1.1\r\nHost: " + b"a" * 1000:
                connection.sendall(bytes([letter]))
                time.sleep(0.05)
        assert time.monotonic() - began < 10


def test_connection_rests_between_two_requests_but_not_for_long(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with serving() as page, connect(page) as connection:
        for _ in range(3):  # each a new allowance
            time.sleep(0.3)
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.settimeout(10)
        with contextlib.suppress(ConnectionError):
            while connection.recv(65536):
                pass


def test_two_requests_at_once_are_both_answered():
    with serving() as page:
        head = "GET /page.css HTTP/1.1\r\nHost: localhost\r\n"
        answer = answer_of(send(page, head, head + "Connection: close"))
    assert answer.count(b"HTTP/1.1 200") == 2


def test_photo_that_stops_coming_is_let_go(monkeypatch):
    monkeypatch.setattr(intake, "PATIENCE_SECONDS", 0.3)
    with serving() as page:
        connection = post_open(page, b"a", length=2)
        answer = answer_of(connection)
        assert answer.startswith(b"HTTP/1.1 408") and b"too slowly" in answer
        assert len(page.intake) == 0


def test_photo_that_drips_is_let_go_and_one_that_is_only_slow_is_not(monkeypatch):
    monkeypatch.setattr(intake, "PATIENCE_SECONDS", 0.5)
    for rate, status in ((1, b"200"), (10**6, b"408")):
        monkeypatch.setattr(intake, "BYTES_A_SECOND", rate)
        with serving() as page:
            connection = post_open(page, b"", length=20)
            with contextlib.suppress(ConnectionError):
                for _ in range(20):
                    connection.sendall(b"a")
                    time.sleep(0.1)
            assert answer_of(connection).split()[1] == status


def test_photos_on_their_way_have_room_and_the_first_makes_it(monkeypatch):
    monkeypatch.setattr(intake, "MAX_BYTES", 1000)
    with serving() as page:
        first = post_open(page, b"a" * 600, length=601)
        wait_for(lambda: page.intake.size == 600)
        second = post_open(page, b"b" * 300, length=301)
        wait_for(lambda: page.intake.size == 900)
        body = request(page, "POST", "/anonymize", b"c" * 200)[2]
        assert parse(body)[1] == b"c" * 200
        assert b"try again" in answer_of(first)
        second.sendall(b"b")
        assert b'"length": 301' in answer_of(second)


def test_photo_that_is_shorter_than_said_is_forgotten(capfd):
    with serving() as page:
        post_open(page, b"photo", length=9).close()
        wait_for(lambda: len(page.intake) == 0 and open_connections(page) == 0)
        assert len(page.jobs) == 0
        assert request(page, "GET", "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_answer_that_is_not_read_is_given_up(monkeypatch):
    monkeypatch.setattr(connections, "READ_SECONDS", 0.3)
    with serving() as page:
        with post_open(page, b"a" * 30_000_000):
            wait_for(lambda: open_connections(page) == 1)
            wait_for(lambda: open_connections(page) == 0)
        # It held no place in the meantime, and a reader that is only slow gets all.
        assert len(page.jobs) == 0
        with post_open(page, b"a" * 10_000_000) as connection:
            size = 0
            while part := connection.recv(1_000_000):
                size += len(part)
                time.sleep(0.05)
        assert size > 10_000_000
