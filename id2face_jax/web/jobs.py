"""The line of photos: one in work at a time, in the order they came.

Owns how many may wait, and the one thread that the model runs in. Leaves what is done
with a photo to `work`, and who is told of it to `app`.
"""

import concurrent.futures
from collections.abc import Callable

from id2face_jax.web.answers import Answer

MAX_PHOTOS = 8  # in work or waiting: 400 MB


class Jobs:
    """The photos in work and waiting; `len` of it is how many.

    Photos and answers are not held here for longer than somebody waits for them.
    """

    def __init__(self, work: Callable[..., Answer]):
        """work: `work(content, seed=, strength=)` gives the answer."""
        self.closed = False
        self._work = work
        self._executor = concurrent.futures.ThreadPoolExecutor(1)
        self._unfinished: list[concurrent.futures.Future] = []

    def __len__(self) -> int:
        return len(self._unfinished)

    @property
    def is_full(self) -> bool:
        return len(self) >= MAX_PHOTOS

    def submit(self, content: bytes, **settings) -> concurrent.futures.Future:
        """Puts a photo at the end of the line, which must not be full."""
        # A cancelled job stays in the executor until its turn; its photo must not.
        photo = [content]
        job = self._executor.submit(lambda: self._work(photo.pop(), **settings))
        self._unfinished.append(job)

        def forget(job: concurrent.futures.Future) -> None:
            self._unfinished.remove(job)
            photo.clear()

        # Also when it is cancelled; at once if it has been done already.
        job.add_done_callback(forget)
        return job

    def ahead_of(self, job: concurrent.futures.Future) -> int:
        """How many photos come before this one."""
        try:
            return self._unfinished.index(job)
        except ValueError:  # it has just been done
            return 0

    def close(self) -> None:
        """Lets nobody wait any more; the photo in work, if any, is left to itself."""
        self.closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
