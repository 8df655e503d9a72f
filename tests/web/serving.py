"""A page with planted work, and clients that behave as browsers do not."""

import contextlib
import http.client
import json
import socket
import threading

from id2face_jax.web import server
from id2face_jax.web.answers import Answer

ABOUT = {"state": "anonymized", "type": "image/png"}


def echo(content, **settings):
    return Answer({**ABOUT, "settings": settings}, content[::-1])


@contextlib.contextmanager
def serving(work=echo, host="127.0.0.1", **options):
    page = server.Server(host, 0, work, **options)
    thread = threading.Thread(target=page.serve_forever)
    thread.start()
    try:
        yield page
    finally:
        page.shutdown()
        thread.join()
        page.close()


def request(page, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(*page.address, timeout=30)
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


def connect(page):
    return socket.create_connection(page.address, timeout=30)


def send(page, *lines, body=b""):
    """A connection on which these lines of a head, and this body, were sent."""
    connection = connect(page)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def post_open(page, body, length=None):
    """A request whose answer is not waited for."""
    length = len(body) if length is None else length
    head = ("POST /anonymize HTTP/1.0", "Host: localhost", f"Content-Length: {length}")
    return send(page, *head, body=body)


def answer_of(connection):
    """All that a server sends until it closes; nothing, if it breaks off."""
    with connection:
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


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


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not happen in 30 s")
