"""Photos on their way here: who may be slow, and how much of them is held.

A photo takes a place in the line only when it is complete, so a slow sender costs the
bytes that have come, and nobody else's place.
"""

import asyncio
from collections.abc import AsyncIterable

# A sender may pause for so long, and must on average be as fast as this.
PATIENCE_SECONDS = 20.0
BYTES_A_SECOND = 10_000
MAX_BYTES = 200_000_000  # of all unfinished photos together


class Intake:
    """Reads photos, and holds what has come of those that are not complete.

    `len` of it is how many are on their way.
    """

    def __init__(self):
        # Deadline of each sender -> bytes that have come; who began first is first.
        self._held: dict[asyncio.Timeout, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(self._held.values())

    async def read(self, chunks: AsyncIterable[bytes]) -> bytes:
        """A whole photo; raises TimeoutError, to be shown, if it does not come."""
        now = asyncio.get_running_loop().time
        began, parts, size = now(), [], 0
        try:
            async with asyncio.timeout(PATIENCE_SECONDS) as deadline:
                self._held[deadline] = 0
                async for chunk in chunks:
                    parts.append(chunk)
                    size += len(chunk)
                    if deadline in self._held:
                        self._held[deadline] = size
                        due = min(now(), began + size / BYTES_A_SECOND)
                        deadline.reschedule(due + PATIENCE_SECONDS)
                        self._make_room()
        except TimeoutError:
            reason = (
                "the photo came too slowly"
                if deadline in self._held
                else "others are sending photos, too; try again later"
            )
            raise TimeoutError(reason) from None
        finally:
            self._held.pop(deadline, None)
        return b"".join(parts)

    def close(self) -> None:
        """Sends everyone away who is still sending."""
        while self._held:
            self._send_away_first()

    def _make_room(self) -> None:
        while self.size > MAX_BYTES:
            self._send_away_first()

    def _send_away_first(self) -> None:
        deadline = next(iter(self._held))
        del self._held[deadline]
        if not deadline.expired():
            deadline.reschedule(0)  # its reader stops at once
