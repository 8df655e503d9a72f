"""Damage as transfers, disks and enemies do it: bytes changed, lost, moved, made up."""

import random


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with one to six wounds; half of them near the beginning."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        if not changed:
            break
        most = len(changed) if rng.random() < 0.5 else min(len(changed), 512)
        place = rng.randrange(most)
        length = min(rng.choice((1, 1, 2, 4, 16, 256)), len(changed) - place)
        rng.choice(_WOUNDS)(changed, place, length, rng)
    return bytes(changed)


def _noise(changed, place, length, rng):
    changed[place : place + length] = rng.randbytes(length)


def _flip(changed, place, length, rng):
    changed[place] ^= 1 << rng.randrange(8)


def _extreme(changed, place, length, rng):
    """What a size or a count may be at most, or least."""
    changed[place : place + length] = rng.choice((b"\0", b"\xff", b"\x7f")) * length


def _delete(changed, place, length, rng):
    del changed[place : place + length]


def _repeat(changed, place, length, rng):
    changed[place:place] = changed[place : place + length] * rng.choice((1, 3))


def _move(changed, place, length, rng):
    part = bytes(changed[place : place + length])
    target = rng.randrange(len(changed))
    changed[target : target + length] = part


def _cut(changed, place, length, rng):
    if rng.random() < 0.3:
        del changed[place:]


_WOUNDS = (_noise, _flip, _extreme, _delete, _repeat, _move, _cut)
