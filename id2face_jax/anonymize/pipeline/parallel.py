"""Independent pieces of work on all cores of this machine.

Detection and recognition hold no lock of Python while they work, so threads are enough,
and the models are loaded once. Leaves to the callers that the pieces are independent.
"""

import os
from collections.abc import Callable, Iterable
from concurrent import futures

_MAX_THREADS = 16  # each holds a picture's intermediate results


def over_cores(function: Callable, items: Iterable) -> list:
    """[function(item) for item in items], some at a time; raises what it raises.

    If several raise, it is the first one's error, as in the plain loop.
    """
    items = list(items)
    num_threads = min(len(items), os.cpu_count() or 1, _MAX_THREADS)
    if num_threads < 2:
        return [function(item) for item in items]
    with futures.ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(function, items))
