"""The largest batch that fits a topology, and the mesh that is quickest with it."""

from collections.abc import Callable

from id2face_jax.plan.estimate import Estimate


def find_best(
    estimate: Callable[[int, int], Estimate], num_chips: int, accumulate: int
) -> Estimate:
    """The best estimate found; one that does not fit if none does.

    First the parameters are split over as many chips as can be, which leaves most
    memory, and the batch doubles until it no longer fits. Then, at the largest batch
    that did, they are split over fewer chips while that is quicker.

    Args:
      estimate: (batch, fsdp) -> Estimate; raises ValueError where the sharding rules
        do not allow it.
      num_chips: of the topology.
      accumulate: micro-batches a step.

    Raises:
      ValueError: no mesh suits the sharding rules.
    """
    best, widths = _widest(estimate, num_chips, accumulate)
    if not best.fits:
        return best
    while (larger := estimate(2 * best.batch, best.mesh["fsdp"])).fits:
        best = larger
    for width in widths:
        narrower = estimate(best.batch, width)
        if not narrower.fits or narrower.seconds >= best.seconds:
            break
        best = narrower
    return best


def _widest(estimate, num_chips: int, accumulate: int) -> tuple[Estimate, list[int]]:
    """One row a chip on the widest mesh that the rules allow, and narrower widths."""
    widths = [i for i in range(num_chips, 0, -1) if num_chips % i == 0]
    for index, width in enumerate(widths):
        try:
            return estimate(num_chips * accumulate, width), widths[index + 1 :]
        except ValueError:
            if width == 1:
                raise
    raise AssertionError("1 divides every number")
