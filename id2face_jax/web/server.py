"""HTTP for the page: the three files of it, and one answer a photo.

Owns what anyone on the network could try: sizes, queue, hosts, headers. A photo
comes as the body of a POST, in memory, and its answer goes back as lines of JSON, one a
second while it waits or is worked on, and at last the answer's; the picture's bytes
follow that line. Nothing is logged of a request. Leaves photos to `answers`.
"""

import concurrent.futures
import functools
import itertools
import json
import pathlib
import socketserver
import sys
import threading
import traceback
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.options import STRENGTH
from id2face_jax.pages import render
from id2face_jax.web import answers
from id2face_jax.web.answers import Answer

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_PHOTOS = 8  # in work, waiting or being sent: 400 MB
_FOLDER = pathlib.Path(__file__).parent
_FILES = {
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
# The browser itself then refuses whatever the page would load from, or send to,
# another host. blob: is the user's own photo and the answer, data: the empty icon.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_HEARTBEAT_SECONDS = 1.0
_SOCKET_SECONDS = 60.0  # a sender may pause for so long


class Server(ThreadingHTTPServer):
    """The page's server; one photo is in work at a time, in the order they came."""

    daemon_threads = True

    def __init__(self, host: str, port: int, work: Callable[..., Answer]):
        """Args:

        host: address to listen on.
        port: 0 takes a free one.
        work: `work(content, seed=, strength=)` gives the answer, see `answers.answer`.
        """
        if ":" in host:
            self.address_family = socketserver.socket.AF_INET6
        self.work = work
        self.places = threading.BoundedSemaphore(MAX_PHOTOS)
        self.is_local = host in LOOPBACK
        self._executor = concurrent.futures.ThreadPoolExecutor(1)
        self._jobs: list[concurrent.futures.Future] = []
        self._lock = threading.Lock()  # so that _jobs is in the executor's order
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ValueError(
                f"cannot listen on {host} port {port} ({error.strerror}); choose "
                "another --port, or 0 for a free one"
            ) from None

    def server_bind(self) -> None:
        """Binds; HTTPServer's own would also ask the name server who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def submit(self, content: bytes, **settings) -> concurrent.futures.Future:
        """Puts a photo at the end of the queue."""
        with self._lock:
            job = self._executor.submit(self.work, content, **settings)
            self._jobs = [other for other in self._jobs if not other.done()] + [job]
        return job

    def ahead_of(self, job: concurrent.futures.Future) -> int:
        """How many photos come before this one."""
        before = itertools.takewhile(lambda other: other is not job, self._jobs)
        return sum(not other.done() for other in before)

    def handle_error(self, request, client_address) -> None:
        """Says nothing of a connection that broke, and all of a mistake of ours."""
        if not isinstance(sys.exception(), OSError):
            traceback.print_exc()

    def server_close(self) -> None:
        super().server_close()
        self._executor.shutdown(wait=True, cancel_futures=True)


def make_server(anonymizer: Anonymizer, host: str, port: int) -> Server:
    """The server of an anonymizer's page."""
    return Server(host, port, functools.partial(answers.answer, anonymizer))


def page() -> bytes:
    """The page itself, with its limits filled in."""
    return render.render(
        "page.html", max_mb=answers.MAX_BYTES // 10**6, strength=f"{STRENGTH:g}"
    )


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _SOCKET_SECONDS
    server_version, sys_version = "id2face", ""

    def log_message(self, *args) -> None:
        """Logs nothing: who asked for what, and when, stays private."""

    def do_GET(self) -> None:
        if not self._is_ours():
            return self._refuse(HTTPStatus.FORBIDDEN, "this page has another address")
        path = urllib.parse.urlsplit(self.path).path
        if path == "/":
            content, kind = page(), "text/html; charset=utf-8"
        elif path in _FILES:
            name, kind = _FILES[path]
            content = (_FOLDER / name).read_bytes()
        else:
            return self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        self._begin(HTTPStatus.OK, kind)
        self.wfile.write(content)

    def do_POST(self) -> None:
        if not self._is_ours():
            return self._refuse(HTTPStatus.FORBIDDEN, "this page has another address")
        try:
            settings, length = self._asked()
        except ValueError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        if length > answers.MAX_BYTES:
            most = f"{answers.MAX_BYTES // 10**6} MB"
            return self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the photo is larger than {most}; make it smaller",
            )
        # Before the body is read: so many photos are in memory, and no more.
        if not self.server.places.acquire(blocking=False):
            return self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{MAX_PHOTOS} photos are waiting already; try again later",
            )
        try:
            content = self.rfile.read(length)
            if len(content) == length:
                self._begin(HTTPStatus.OK, "application/octet-stream")
                self._answer(content, settings)
        finally:
            self.server.places.release()

    def _asked(self) -> tuple[dict, int]:
        """Settings and length of a photo; raises ValueError if it is none."""
        address = urllib.parse.urlsplit(self.path)
        if address.path != "/anonymize":
            raise ValueError("photos are posted to /anonymize")
        query = dict(urllib.parse.parse_qsl(address.query))
        if "Content-Length" not in self.headers:
            raise ValueError("the photo's length is missing")
        try:
            settings = {
                "seed": int(query.get("seed", "0")),
                "strength": float(query.get("strength", STRENGTH)),
            }
            length = int(self.headers["Content-Length"])
        except ValueError:
            raise ValueError("seed, strength and length are numbers") from None
        if length < 0:
            raise ValueError(f"the photo's length is {length}; it cannot be negative")
        return settings, length

    def _answer(self, content: bytes, settings: dict) -> None:
        """Lines until the answer is there; then its line, and the picture."""
        job = self.server.submit(content, **settings)
        try:
            while not job.done():
                self._line({"ahead": self.server.ahead_of(job)})
                concurrent.futures.wait([job], _HEARTBEAT_SECONDS)
        except OSError:
            # Nobody waits any more; if it has not begun, it need not.
            job.cancel()
            return
        try:
            answer = job.result()
        except ValueError as error:
            return self._line({"error": " ".join(str(error).split())})
        except Exception:
            # A mistake of ours must not end the server; the photo is not in the trace.
            traceback.print_exc()
            return self._line({"error": "the photo could not be worked on"})
        self._line({**answer.about, "length": len(answer.picture)})
        self.wfile.write(answer.picture)

    def _line(self, content: dict) -> None:
        self.wfile.write(json.dumps(content).encode("ascii") + b"\n")

    def _begin(self, status: HTTPStatus, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._begin(status, "application/json")
        self._line({"error": message})

    def _is_ours(self) -> bool:
        """Whether the request comes from this page.

        Any site may let a browser post to a local address, or let its own name point
        there; neither gets work done.
        """
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        if origin is not None and urllib.parse.urlsplit(origin).netloc != host:
            return False
        name = urllib.parse.urlsplit(f"//{host}").hostname
        return not self.server.is_local or name in LOOPBACK
