"""Connections: none is kept open by a client that says, or reads, nothing.

uvicorn limits how long a connection may rest between two requests, and how many there
are. It waits forever for a first request, for the rest of a head, and for a client to
read its answer. Owns those three limits; leaves requests to `app`.
"""

import asyncio
import json
import math

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # from connecting, or from the last answer, to a request's head
MAX_IDLE = 200  # more connections without a request push out the oldest of them
# Of an answer, so much must be read each so many seconds.
READ_SECONDS, READ_BYTES = 20.0, 200_000


class Connection(H11Protocol):
    """One client's connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._reading: asyncio.TimerHandle | None = None
        self._await_head()
        idle = [other for other in self.connections if other.is_idle]
        if len(idle) > MAX_IDLE:
            min(idle, key=lambda other: other.idle_since).transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether it is open without a request."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self.transport.is_closing()

    def _await_head(self) -> None:
        self.idle_since = self.loop.time()
        self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._head.cancel()

    def on_response_complete(self) -> None:
        # First: the next request may have come already, and is begun by what follows.
        self._await_head()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Like all our errors it is JSON, and it has the headers of all answers."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # it must not answer as well
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return self.transport.abort()
        headers = [
            *self.config.encoded_headers,
            (b"Content-Type", b"application/json"),
            (b"Connection", b"close"),
        ]
        body = json.dumps({"error": msg}).encode("ascii") + b"\n"
        events = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(self.conn.send(event) for event in events))
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(math.inf)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.cancel()
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_reader(self, most: int | float) -> None:
        """Ends the connection unless what is still to be read is below `most`."""
        left = self.transport.get_write_buffer_size()
        if left > most:
            return self.transport.abort()
        self._reading = self.loop.call_later(
            READ_SECONDS, self._watch_reader, left - READ_BYTES
        )

    def _stop_watching(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
