"""HTTP: what is served to whom, one photo at a time, and limits before work."""

import contextlib
import http.client
import json
import socket
import threading

import pytest

from id2face_jax.web import answers, server
from id2face_jax.web.answers import Answer

ABOUT = {"state": "anonymized", "type": "image/png"}


def echo(content, **settings):
    return Answer({**ABOUT, "settings": settings}, content[::-1])


@contextlib.contextmanager
def serving(work=echo, host="127.0.0.1"):
    with server.Server(host, 0, work) as page:
        thread = threading.Thread(target=page.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield page
        finally:
            page.shutdown()
            thread.join()


def request(page, method, path, body=None, **headers):
    host, port = page.server_address[:2]
    connection = http.client.HTTPConnection(host, port, timeout=30)
    with contextlib.closing(connection):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def parse(body):
    """The last line's JSON, and what follows it."""
    while True:
        line, body = body.split(b"\n", 1)
        content = json.loads(line)
        if "ahead" not in content:
            return content, body


def test_page_is_served_under_a_policy_that_lets_nothing_leave():
    with serving() as page:
        for path in ("/", "/page.css", "/page.js"):
            status, headers, body = request(page, "GET", path)
            assert status == 200 and body
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["Cache-Control"] == "no-store"
            assert b"http://" not in body and b"https://" not in body
        for path in ("/server.py", "/../server.py", "/%2e%2e/cli.py", "/anonymize"):
            assert request(page, "GET", path)[0] == 404


def test_photo_comes_back_with_its_settings():
    with serving() as page:
        path = "/anonymize?seed=4&strength=120"
        status, headers, body = request(page, "POST", path, b"photo")
        assert status == 200 and headers["Cache-Control"] == "no-store"
        about, picture = parse(body)
        assert about["settings"] == {"seed": 4, "strength": 120.0}
        assert about["length"] == 5 and picture == b"otohp"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/other", {}, 400),
        ("/anonymize?seed=x", {}, 400),
        ("/anonymize", {"Content_Length": "-1"}, 400),
        ("/anonymize", {"Content_Length": str(answers.MAX_BYTES + 1)}, 413),
        ("/anonymize", {"Host": "evil.example"}, 403),
        ("/anonymize", {"Origin": "http://evil.example"}, 403),
        ("/anonymize", {"Origin": "null"}, 403),
    ],
)
def test_wrong_requests_do_no_work(path, headers, status):
    asked = []
    with serving(lambda content, **settings: asked.append(content)) as page:
        found, _, body = request(page, "POST", path, b"photo", **headers)
    assert found == status and json.loads(body)["error"] and not asked


def test_other_names_of_this_computer_are_welcome_and_foreign_ones_are_not():
    with serving() as page:
        port = page.server_address[1]
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert request(page, "GET", "/", Host=host)[0] == 200
            origin = f"http://{host}"
            found = request(page, "POST", "/anonymize", b"a", Host=host, Origin=origin)
            assert found[0] == 200
        assert request(page, "GET", "/", Host=f"rebound.example:{port}")[0] == 403


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("the photo\nis empty"), "the photo is empty"),
        (RuntimeError("tensor of her face"), "could not be worked on"),
    ],
)
def test_errors_are_told_and_the_server_goes_on(error, message, capsys):
    def work(content, **settings):
        if content == b"bad":
            raise error
        return echo(content)

    with serving(work) as page:
        about, picture = parse(request(page, "POST", "/anonymize", b"bad")[2])
        assert message in about["error"] and picture == b""
        assert parse(request(page, "POST", "/anonymize", b"ok")[2])[1] == b"ko"
    # Only what is a mistake of ours is printed, and no request is.
    shown = capsys.readouterr()
    assert shown.out == "" and ("Traceback" in shown.err) == (message[0] == "c")
    assert "POST" not in shown.err


class Gate:
    """Work that waits to be let through, and counts how many do at a time."""

    def __init__(self):
        self.open, self.began = threading.Event(), threading.Semaphore(0)
        self.now, self.most, self.done = 0, 0, []

    def __call__(self, content, **settings):
        self.now += 1
        self.most = max(self.most, self.now)
        self.began.release()
        self.open.wait(30)
        self.now -= 1
        self.done.append(content)
        return echo(content)


def post_open(page, body):
    """A request whose answer is not waited for."""
    connection = socket.create_connection(page.server_address[:2], timeout=30)
    head = f"POST /anonymize HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + body)
    return connection


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not happen in 30 s")


def test_photos_wait_in_line_and_too_many_are_sent_away(monkeypatch):
    monkeypatch.setattr(server, "_HEARTBEAT_SECONDS", 0.05)
    gate = Gate()
    with serving(gate) as page:
        lines = []
        for name in b"abcdefgh"[: server.MAX_PHOTOS]:
            lines.append(post_open(page, bytes([name])))
            wait_for(lambda: len(page._jobs) == len(lines))  # noqa: B023
        status, _, body = request(page, "POST", "/anonymize", b"z")
        assert status == 503 and "waiting already" in json.loads(body)["error"]
        third = lines[2].makefile("rb")
        while not (line := third.readline()).startswith(b"{"):
            pass
        assert json.loads(line) == {"ahead": 2}
        gate.open.set()
        for connection in lines:
            with connection, connection.makefile("rb") as rest:
                assert b'"length": 1' in rest.read() or connection is lines[2]
        third.close()
    assert gate.most == 1 and b"".join(gate.done) == b"abcdefgh"


def test_photo_of_who_has_left_is_not_worked_on(monkeypatch):
    monkeypatch.setattr(server, "_HEARTBEAT_SECONDS", 0.02)
    gate = Gate()
    with serving(gate) as page:
        first = post_open(page, b"a")
        assert gate.began.acquire(timeout=30)
        second = post_open(page, b"b")
        wait_for(lambda: len(page._jobs) == 2)
        second.close()
        wait_for(lambda: page._jobs[1].cancelled())
        gate.open.set()
        with first, first.makefile("rb") as rest:
            rest.read()
    assert gate.done == [b"a"]


def test_taken_port_is_an_error_that_says_what_to_do():
    with serving() as page, pytest.raises(ValueError, match="another --port"):
        server.Server("127.0.0.1", page.server_address[1], echo)


def test_ipv6_has_its_brackets():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    try:
        with serving(host="::1") as page:
            assert page.url.startswith("http://[::1]:")
            assert request(page, "GET", "/")[0] == 200
    except ValueError:
        pytest.skip("IPv6 is switched off on this machine")
