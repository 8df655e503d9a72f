"""The page's requests: its three files, and one answer a photo.

Owns what a browser may ask, and who: hosts, origins, sizes, headers, words of refusal.
A photo comes as the body of a POST, in memory, and its answer goes back as lines of
JSON, one a second while it waits or is worked on, and at last the answer's; the
picture's bytes follow that line. Leaves photos to `answers`, their line to `jobs`, and
sockets to `server`.
"""

import asyncio
import concurrent.futures
import json
import pathlib
import traceback
import urllib.parse
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from id2face_jax.anonymize.pipeline.options import STRENGTH
from id2face_jax.pages import render
from id2face_jax.web import answers, jobs
from id2face_jax.web.intake import Intake
from id2face_jax.web.jobs import Jobs

# The browser itself then refuses whatever the page would load from, or send to,
# another host. blob: is the user's own photo and the answer, data: the empty icon.
HEADERS = {
    "Server": "id2face",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FOLDER = pathlib.Path(__file__).parent
_HEARTBEAT_SECONDS = 1.0


def make_app(line: Jobs, intake: Intake, hosts: Sequence[str]) -> Starlette:
    """The page; hosts are the names by which it may be asked for, "*" is any."""
    site = _Site(line, intake)
    files = {
        "/": (page(), "text/html"),
        "/page.css": ((_FOLDER / "page.css").read_bytes(), "text/css"),
        "/page.js": ((_FOLDER / "page.js").read_bytes(), "text/javascript"),
    }
    app = Starlette(
        routes=[
            *(Route(path, _file(*content)) for path, content in files.items()),
            Route("/anonymize", site.anonymize, methods=["POST"]),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(_SameOrigin),
        ],
        exception_handlers={HTTPException: _explain},
    )
    app.router.redirect_slashes = False
    return app


def page() -> bytes:
    """The page itself, with its limits filled in."""
    return render.render(
        "page.html", max_mb=answers.MAX_BYTES // 10**6, strength=f"{STRENGTH:g}"
    )


class _Site:
    def __init__(self, line: Jobs, intake: Intake):
        self._jobs, self._intake = line, intake

    async def anonymize(self, request: Request) -> Response:
        """Takes a photo in, puts it into the line, and tells how it goes."""
        settings = _asked(request)
        # Before anything is sent; and again when all is there, since it may take long.
        self._refuse_if_full()
        try:
            content = await self._intake.read(request.stream())
        except TimeoutError as error:
            raise HTTPException(408, str(error)) from None
        except ClientDisconnect:
            return Response()  # to nobody
        self._refuse_if_full()
        return _Telling(self._jobs, self._jobs.submit(content, **settings))

    def _refuse_if_full(self) -> None:
        if self._jobs.closed:
            raise HTTPException(503, "the page is being ended")
        if self._jobs.is_full:
            most = jobs.MAX_PHOTOS
            raise HTTPException(503, f"{most} photos are waiting already; try later")


class _Telling(StreamingResponse):
    """What becomes of a photo; who stops listening takes it out of the line."""

    def __init__(self, line: Jobs, job: concurrent.futures.Future):
        super().__init__(self._lines(), media_type="application/octet-stream")
        self._jobs, self._job = line, job
        self._answer = asyncio.wrap_future(job)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()

    async def _lines(self) -> AsyncIterator[bytes]:
        """Lines until the answer is there; then its line, and the picture."""
        while not self._answer.done() and not self._jobs.closed:
            yield _line({"ahead": self._jobs.ahead_of(self._job)})
            await asyncio.wait([self._answer], timeout=_HEARTBEAT_SECONDS)
        if not self._answer.done() or self._answer.cancelled():
            yield _line({"error": "the page has been ended"})
            return
        try:
            answer = self._answer.result()
        except ValueError as error:
            yield _line({"error": " ".join(str(error).split())})
        except Exception:
            # A mistake of ours must not end the server; the photo is not in the trace.
            traceback.print_exc()
            yield _line({"error": "the photo could not be worked on"})
        else:
            yield _line({**answer.about, "length": len(answer.picture)})
            yield answer.picture


def _asked(request: Request) -> dict:
    """A photo's settings; raises HTTPException if its head does not say what it must.

    Chunked bodies do not say how long they are.
    """
    if "transfer-encoding" in request.headers:
        raise HTTPException(400, "the photo's length is missing")
    try:
        length = int(request.headers["content-length"])
        settings = {
            "seed": int(request.query_params.get("seed", "0")),
            "strength": float(request.query_params.get("strength", STRENGTH)),
        }
    except KeyError:
        raise HTTPException(400, "the photo's length is missing") from None
    except ValueError:
        raise HTTPException(400, "seed, strength and length are numbers") from None
    if length > answers.MAX_BYTES:
        most = f"{answers.MAX_BYTES // 10**6} MB"
        raise HTTPException(413, f"the photo is larger than {most}; make it smaller")
    return settings


class _SameOrigin:
    """Refuses what another site's page lets a browser send here."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is None or _netloc(origin) == host:
            return await self._app(scope, receive, send)
        refusal = _refusal(403, "this page has another address")
        await refusal(scope, receive, send)


def _netloc(origin: str) -> str | None:
    try:
        return urllib.parse.urlsplit(origin).netloc
    except ValueError:  # half an IPv6 address
        return None


def _file(content: bytes, kind: str):
    async def give(request: Request) -> Response:
        return Response(content, media_type=kind)

    return give


async def _explain(request: Request, error: HTTPException) -> Response:
    return _refusal(error.status_code, error.detail)


def _refusal(status: int, message: str) -> Response:
    return Response(_line({"error": message}), status, media_type="application/json")


def _line(content: dict) -> bytes:
    return json.dumps(content).encode("ascii") + b"\n"
