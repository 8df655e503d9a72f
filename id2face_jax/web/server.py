"""The page's server: where it listens, and how many it serves.

Owns the socket, uvicorn's settings, and a quick end. Nothing is logged of a request.
Leaves requests to `app`, and slow clients to `connections` and `intake`.
"""

import functools
import socket
from collections.abc import Callable, Sequence

import uvicorn

from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.web import answers, app
from id2face_jax.web.answers import Answer
from id2face_jax.web.connections import Connection
from id2face_jax.web.intake import Intake
from id2face_jax.web.jobs import Jobs

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_CONNECTIONS = 500  # with a request or without; others are told to come later
_MAX_HEAD_BYTES = 16_384
_KEEP_ALIVE_SECONDS = 5
_END_SECONDS = 3  # for answers under way when the server ends


class Server:
    """Listens from the start; `serve_forever` answers until `shutdown` or Ctrl-C."""

    def __init__(
        self,
        host: str,
        port: int,
        work: Callable[..., Answer],
        allowed_hosts: Sequence[str] = (),
    ):
        """Args:

        host: address to listen on.
        port: 0 takes a free one.
        work: `work(content, seed=, strength=)` gives the answer, see `answers.answer`.
        allowed_hosts: names, besides this computer's own, by which the page may be
          asked for, "*.example.com" for all below one.
        """
        self._socket = _listen(host, port)
        self.address = self._socket.getsockname()[:2]
        self.jobs = Jobs(work)
        self.intake = Intake()
        hosts = _trusted(host, allowed_hosts)
        config = uvicorn.Config(
            app.make_app(self.jobs, self.intake, hosts),
            http=Connection,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # our own mistakes; no request is one
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=list(app.HEADERS.items()),
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_END_SECONDS,
        )
        self._server = _Uvicorn(config, (self.jobs, self.intake))

    @property
    def url(self) -> str:
        host, port = self.address
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def serve_forever(self) -> None:
        self._server.run(sockets=[self._socket])

    def shutdown(self) -> None:
        """Makes `serve_forever` return; may be called from any thread."""
        self._server.should_exit = True

    def close(self) -> None:
        self.jobs.close()
        self._socket.close()


class _Uvicorn(uvicorn.Server):
    """Ends what waits before it waits for the connections to end."""

    def __init__(self, config: uvicorn.Config, parts: Sequence[Jobs | Intake]):
        super().__init__(config)
        self._parts = parts

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for part in self._parts:
            part.close()
        await super().shutdown(sockets)


def make_server(
    anonymizer: Anonymizer, host: str, port: int, allowed_hosts: Sequence[str] = ()
) -> Server:
    """The server of an anonymizer's page."""
    work = functools.partial(answers.answer, anonymizer)
    return Server(host, port, work, allowed_hosts)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if not 0 <= port < 2**16:
            raise OSError(0, "there is no such port")
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ValueError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose "
            "another --port, or 0 for a free one"
        ) from None


def _trusted(host: str, allowed: Sequence[str]) -> list[str]:
    """The names that requests may come by.

    Any site may let its own name point to this computer. An address that the network
    reaches has names that only the user knows: all are taken until some are given.
    """
    own = [f"[{name}]" if ":" in name else name for name in (*LOOPBACK, host)]
    return [*own, *allowed] if allowed or host in LOOPBACK else ["*"]
