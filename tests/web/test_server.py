"""HTTP: what is served to whom, one photo at a time, and limits before work."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from id2face_jax import cli
from id2face_jax.web import answers, app, jobs, server
from tests.web.serving import (
    Gate,
    answer_of,
    echo,
    parse,
    post_open,
    request,
    send,
    serving,
    wait_for,
)


def test_page_is_served_under_a_policy_that_lets_nothing_leave():
    with serving() as page:
        for path in ("/", "/page.css", "/page.js"):
            status, headers, body = request(page, "GET", path)
            assert status == 200 and body
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["Cache-Control"] == "no-store"
            assert b"http://" not in body and b"https://" not in body
        for path in ("/server.py", "/../server.py", "/%2e%2e/cli.py", "/anonymize/"):
            assert request(page, "GET", path)[0] == 404
        assert request(page, "GET", "/anonymize")[0] == 405


def test_photo_comes_back_with_its_settings():
    with serving() as page:
        path = "/anonymize?seed=4&strength=120"
        status, headers, body = request(page, "POST", path, b"photo")
        assert status == 200 and headers["Cache-Control"] == "no-store"
        about, picture = parse(body)
        assert about["settings"] == {"seed": 4, "strength": 120.0}
        assert about["length"] == 5 and picture == b"otohp"


def test_a_large_photo_arrives_whole():
    photo = os.urandom(answers.MAX_BYTES)
    with serving() as page:
        body = request(page, "POST", "/anonymize", photo)[2]
    assert parse(body)[1] == photo[::-1]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/other", {}, 404),
        ("/anonymize?seed=x", {}, 400),
        ("/anonymize?strength=x", {}, 400),
        ("/anonymize", {"Content_Length": "-1"}, 400),
        ("/anonymize", {"Content_Length": "five"}, 400),
        ("/anonymize", {"Content_Length": str(answers.MAX_BYTES + 1)}, 413),
        ("/anonymize", {"Origin": "http://evil.example"}, 403),
        ("/anonymize", {"Origin": "null"}, 403),
        ("/anonymize", {"Origin": "http://[::1"}, 403),
    ],
)
def test_wrong_requests_do_no_work(path, headers, status):
    asked = []
    with serving(lambda content, **settings: asked.append(content)) as page:
        found, given, body = request(page, "POST", path, b"photo", **headers)
    assert found == status and json.loads(body)["error"] and not asked
    assert "default-src 'none'" in given["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 1\r\nContent-Length: 2", b"ab"),
        ("Transfer-Encoding: chunked", b"2\r\nab\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"broken\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2", b"2\r\nab\r\n0\r\n\r\n"),
        ("No-Length: 1", b"ab"),
        ("A head without a colon", b""),
        ("Much: " + "a" * 20_000, b""),
    ],
    ids=["two", "chunked", "broken", "both", "none", "no head", "large head"],
)
def test_broken_requests_do_no_work(head, body, capfd):
    asked = []
    with serving(lambda content, **settings: asked.append(content)) as page:
        first = ("POST /anonymize HTTP/1.1", "Host: localhost", "Connection: close")
        answer = answer_of(send(page, *first, head, body=body))
        assert request(page, "GET", "/")[0] == 200
    assert answer.startswith(b"HTTP/1.1 400") and b'"error"' in answer and not asked
    assert b"default-src 'none'" in answer
    shown = capfd.readouterr()
    assert shown.out == shown.err == ""


def test_other_names_of_this_computer_are_welcome_and_foreign_ones_are_not():
    with serving() as page:
        port = page.address[1]
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert request(page, "GET", "/", Host=host)[0] == 200
            origin = f"http://{host}"
            found = request(page, "POST", "/anonymize", b"a", Host=host, Origin=origin)
            assert found[0] == 200
        assert request(page, "GET", "/", Host=f"rebound.example:{port}")[0] == 400


@pytest.mark.parametrize(
    "host",
    ["evil.example", "[::1", "::1]", "[::1]x", "", "a b", "localhost:x", "[v1.a]"],
)
def test_bad_and_foreign_hosts_do_no_work(host, capfd):
    asked = []
    with serving(lambda content, **settings: asked.append(content)) as page:
        for path in ("/anonymize", "/"):
            found = request(page, "POST", path, b"photo", Host=host)[0]
            assert found == 400 and not asked
        assert request(page, "GET", "/", Host=host)[0] == 400
    assert "Traceback" not in capfd.readouterr().err


def test_a_host_is_asked_for():
    with serving() as page:
        answer = answer_of(send(page, "GET / HTTP/1.0"))
    assert answer.startswith(b"HTTP/1.1 400")


def test_hosts_of_a_proxy_are_welcome_where_they_are_allowed():
    allowed = ["photos.example.com", "*.example.org"]
    with serving(allowed_hosts=allowed) as page:
        for host in ("photos.example.com", "Photos.Example.COM:8443", "a.example.org"):
            given = {"Host": host, "Origin": f"https://{host}"}
            assert request(page, "POST", "/anonymize", b"a", **given)[0] == 200
            given["Origin"] = "https://b.example.org"
            assert request(page, "POST", "/anonymize", b"a", **given)[0] == 403
        for host in ("example.com", "example.org", "photos.example.com.evil.example"):
            assert request(page, "GET", "/", Host=host)[0] == 400
        assert request(page, "GET", "/", Host="localhost")[0] == 200


def test_an_open_page_takes_any_name_until_some_are_given():
    with serving(host="0.0.0.0") as page:
        assert request(page, "GET", "/", Host="box.lan:80")[0] == 200
        assert request(page, "GET", "/", Host="[::1")[0] in (200, 400)
    with serving(host="0.0.0.0", allowed_hosts=["box.lan"]) as page:
        assert request(page, "GET", "/", Host="box.lan:80")[0] == 200
        assert request(page, "GET", "/", Host="other.lan:80")[0] == 400


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("the photo\nis empty"), "the photo is empty"),
        (RuntimeError("tensor of her face"), "could not be worked on"),
    ],
)
def test_errors_are_told_and_the_server_goes_on(error, message, capfd):
    def work(content, **settings):
        if content == b"bad":
            raise error
        return echo(content)

    with serving(work) as page:
        about, picture = parse(request(page, "POST", "/anonymize", b"bad")[2])
        assert message in about["error"] and picture == b""
        assert parse(request(page, "POST", "/anonymize", b"ok")[2])[1] == b"ko"
    # Only what is a mistake of ours is printed, and no request is.
    shown = capfd.readouterr()
    assert shown.out == "" and ("Traceback" in shown.err) == (message[0] == "c")
    assert "POST" not in shown.err


def test_photos_wait_in_line_and_too_many_are_sent_away(monkeypatch):
    monkeypatch.setattr(app, "_HEARTBEAT_SECONDS", 0.05)
    gate = Gate()
    with serving(gate) as page:
        lines = []
        for name in b"abcdefgh"[: jobs.MAX_PHOTOS]:
            lines.append(post_open(page, bytes([name])))
            wait_for(lambda: len(page.jobs) == len(lines))  # noqa: B023
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
        assert len(page.jobs) == 0
    assert gate.most == 1 and b"".join(gate.done) == b"abcdefgh"


def test_photo_that_is_complete_when_the_line_is_full_is_sent_away():
    gate = Gate()
    with serving(gate) as page:
        late = post_open(page, b"y", length=2)
        wait_for(lambda: len(page.intake) == 1)
        others = [post_open(page, b"a") for _ in range(jobs.MAX_PHOTOS)]
        wait_for(lambda: page.jobs.is_full)
        late.sendall(b"z")
        assert b"503" in answer_of(late).splitlines()[0]
        gate.open.set()
        assert all(b'"length": 1' in answer_of(other) for other in others)
    assert b"yz" not in gate.done


def test_photo_of_who_has_left_is_not_worked_on():
    gate = Gate()
    with serving(gate) as page:
        first = post_open(page, b"a")
        assert gate.began.acquire(timeout=30)
        second = post_open(page, b"b")
        wait_for(lambda: len(page.jobs) == 2)
        second.close()
        wait_for(lambda: len(page.jobs) == 1)
        gate.open.set()
        with first, first.makefile("rb") as rest:
            rest.read()
    assert gate.done == [b"a"]


def test_who_leaves_takes_the_photo_out_of_memory():
    gate = Gate()
    line = jobs.Jobs(gate)
    content = os.urandom(1000)
    line.submit(b"a")
    assert gate.began.acquire(timeout=30)
    before = sys.getrefcount(content)
    job = line.submit(content)
    assert sys.getrefcount(content) > before and line.ahead_of(job) == 1
    job.cancel()
    assert sys.getrefcount(content) == before and len(line) == 1
    gate.open.set()
    line.close()


def test_nothing_is_written_to_disk():
    # Work is planted here; tests/web/test_answers.py watches the real one.
    written, watching = [], [False]

    def watch(event, arguments):
        if not watching[0]:
            return
        if event == "open" and arguments[2] & 3:  # O_WRONLY or O_RDWR
            written.append(arguments[0])
        elif event.startswith("tempfile."):
            written.append(event)

    sys.addaudithook(watch)  # it cannot be taken away again, but told to look away
    photo = os.urandom(5_000_000)  # more than starlette's forms keep in memory
    with serving() as page:
        watching[0] = True
        try:
            assert request(page, "GET", "/")[0] == 200
            assert parse(request(page, "POST", "/anonymize", photo)[2])[1]
            given = {"Content_Type": "multipart/form-data; boundary=a"}
            assert parse(request(page, "POST", "/anonymize", photo, **given)[2])[1]
        finally:
            watching[0] = False
    assert written == []


@pytest.mark.parametrize(
    "name", ["*", "a.*", "https://a.example", "a.example:80", "a.example/", "a b", ""]
)
def test_allowed_host_is_a_name(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["web", "--allowed-host", name])
    assert "without port and path" in " ".join(capsys.readouterr().err.split())


def test_taken_port_is_an_error_that_says_what_to_do():
    with serving() as page, pytest.raises(ValueError, match="another --port"):
        server.Server("127.0.0.1", page.address[1], echo)
    with pytest.raises(ValueError, match="another --port"):
        server.Server("127.0.0.1", 70_000, echo)


def test_ipv6_has_its_brackets():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    try:
        with serving(host="::1") as page:
            assert page.url.startswith("http://[::1]:")
            assert request(page, "GET", "/")[0] == 200
    except ValueError:
        pytest.skip("IPv6 is switched off on this machine")


def test_an_end_is_told_to_who_waits_and_awaits_no_photo():
    gate = Gate()
    with serving(gate) as page:
        first, second = post_open(page, b"a"), post_open(page, b"b")
        wait_for(lambda: len(page.jobs) == 2)
        sending = post_open(page, b"c", length=9)
        wait_for(lambda: len(page.intake) == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert b"has been ended" in answer_of(first) and b"ended" in answer_of(second)
    answer_of(sending)
    gate.open.set()
    wait_for(lambda: gate.done == [b"a"])


INTERRUPTED = """
import threading, types
from id2face_jax.anonymize.pipeline import anonymizer, generator
from id2face_jax import cli
from id2face_jax.web import answers
generator.use_compilation_cache = lambda: None
anonymizer.Anonymizer.from_pretrained = lambda *args, **options: None
answers.answer = lambda *args, **options: threading.Event().wait()
raise SystemExit(cli.main(["web", "--port", "0"]))
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "photo in work"])
def test_ctrl_c_ends_it_at_once(busy):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(process.stdout.readline().split(":")[2].split("/")[0])
        head = ("POST /anonymize HTTP/1.1", "Host: localhost", "Content-Length: 1")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            if busy:
                connection.sendall("\r\n".join([*head, "", "a"]).encode())
                assert b"200" in connection.recv(65536)
            process.send_signal(signal.SIGINT)
            _, shown = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 130
    assert shown == "id2face web: interrupted\n"
