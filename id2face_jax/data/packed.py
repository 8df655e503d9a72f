"""Records packed into one folder that a device holds whole, augmented there.

One file of JPEG crops and one of arrays, read with numpy and OpenCV alone: a machine
that is lent for minutes has neither grain nor TFDS, and its host's cores could not feed
it. All pixels go to the device once, as uint8; pairs, mirror images, colors and masks
are drawn there, by the rules of `pairs` and `transforms`, as a function of the seed and
the number of the batch. Pairs are drawn with replacement, where the Grain pipeline
shuffles epochs. Leaves records to `records`, and which of the two a run uses to
`batches`.

    python -m id2face_jax.data.packed RECORDS OUT
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import shutil
import tempfile

import cv2
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, UInt8

from id2face_jax.data import pairs
from id2face_jax.faces import align, mask, whitening

MANIFEST, CROPS, ARRAYS = "packed.json", "crops.bin", "arrays.npz"
RECOGNIZER = "recognizer.npz"
_MIRRORED = np.array([1, 0, 2, 4, 3])  # of the five points, see `transforms.flip`
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def is_packed(path: str | pathlib.Path) -> bool:
    """Whether `path` is a folder that `pack` wrote."""
    return (pathlib.Path(path) / MANIFEST).is_file()


def pack(
    splits: dict[str, "object"], geometry: align.Geometry, out: pathlib.Path
) -> dict[str, int]:
    """Writes the folder `out`, all or nothing. Returns faces by split.

    The recognizer of the identity loss is packed too: its package is another thing that
    a lent machine lacks.

    Args:
      splits: name -> `records.Records`; their crops are stored as JPEG again, at the
        quality of `prepare.encode_crop`.
      geometry: what the crops show.
      out: must not exist.
    """
    from id2face_jax.data.prepare import encode_crop

    if out.exists():
        raise ValueError(f"{out} exists; remove it or pack to another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        arrays, counts, ends = {}, {}, [0]
        with (scratch / CROPS).open("wb") as file:
            for split, source in splits.items():
                rows = [source[i] for i in range(len(source))]
                for row in rows:
                    data = encode_crop(row["image"])
                    file.write(data)
                    ends.append(ends[-1] + len(data))
                counts[split] = len(rows)
                arrays[f"{split}/landmarks"] = np.stack([r["landmarks"] for r in rows])
                embeddings = np.stack([r["embedding"] for r in rows])
                arrays[f"{split}/embeddings"] = embeddings
                arrays[f"{split}/person_ids"] = np.asarray(source.person_ids)
                arrays[f"{split}/people"] = np.array(source.people)
        np.savez(scratch / ARRAYS, ends=np.array(ends), **arrays)
        manifest = {
            "faces": counts,
            "size": int(rows[0]["image"].shape[0]),
            "crop": {"units": geometry.units, "center": list(geometry.center)},
        }
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        flat = traverse_util.flatten_dict(whitening.frozen_recognizer(), sep="/")
        np.savez(scratch / RECOGNIZER, **flat)
        scratch.chmod(0o755)
        scratch.rename(out)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return counts


@dataclasses.dataclass(frozen=True)
class Packed:
    """One split in memory.

    Attributes:
      images: crops, RGB.
      landmarks, embeddings: of each.
      person_ids, people: number and name of each crop's person.
      geometry: what the crops show.
    """

    images: UInt8[np.ndarray, "n s s 3"]
    landmarks: Float[np.ndarray, "n 5 2"]
    embeddings: Float[np.ndarray, "n d"]
    person_ids: np.ndarray
    people: tuple[str, ...]
    geometry: align.Geometry

    def __len__(self) -> int:
        return len(self.images)


def open_packed(path: str | pathlib.Path, split: str) -> Packed:
    """One split of a folder that `pack` wrote.

    Raises ValueError for a folder without it, or whose files were cut off.
    """
    path = pathlib.Path(path)
    manifest = json.loads((path / MANIFEST).read_text())
    counts, size = manifest["faces"], manifest["size"]
    if split not in counts:
        raise ValueError(f"{path} has no split {split!r}; it has {sorted(counts)}")
    first = sum(counts[name] for name in list(counts)[: list(counts).index(split)])
    with np.load(path / ARRAYS) as file:
        ends = file["ends"]
        arrays = {
            name: file[f"{split}/{name}"]
            for name in ("landmarks", "embeddings", "person_ids", "people")
        }
    data = np.fromfile(path / CROPS, np.uint8)
    if len(data) != ends[-1]:
        raise ValueError(
            f"{path / CROPS} has {len(data)} bytes of {ends[-1]}; copy it again"
        )
    images = np.empty((counts[split], size, size, 3), np.uint8)
    for row in range(counts[split]):
        start, end = ends[first + row], ends[first + row + 1]
        images[row] = cv2.imdecode(data[start:end], cv2.IMREAD_COLOR)[..., ::-1]
    crop = manifest["crop"]
    return Packed(
        images,
        arrays["landmarks"].astype(np.float32),
        arrays["embeddings"].astype(np.float32),
        arrays["person_ids"].astype(np.int64),
        tuple(map(str, arrays["people"])),
        align.Geometry(float(crop["units"]), tuple(map(float, crop["center"]))),
    )


def load_recognizer(path: str | pathlib.Path) -> dict:
    """As `whitening.frozen_recognizer`, from a packed folder."""
    with np.load(pathlib.Path(path) / RECOGNIZER) as file:
        return traverse_util.unflatten_dict(dict(file), sep="/")


class DeviceBatches:
    """Endless batches of pairs, drawn on the device; batch i is a function of i.

    Has the state of a grain iterator: how many batches were given.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        source: Packed,
        table: pairs.PairTable,
        rows: jax.sharding.Sharding | None = None,
    ):
        """rows: how batches are laid out; None: on the default device."""
        data = config.data
        self._next, self._seed = 0, config.seed
        held = {
            "images": source.images,
            "landmarks": source.landmarks,
            "embeddings": source.embeddings,
            "photos": table.photos,
            "start": table.start,
            "count": table.count,
            "slots_of": table.slots_of,
            "slot_person": table.slot_person,
            "slot_rank": table.slot_rank,
        }
        whole = None
        if rows is not None:
            whole = jax.sharding.NamedSharding(rows.mesh, jax.sharding.PartitionSpec())
        # Whole numbers are int64 in numpy, which jax has not.
        held = {
            name: x.astype(np.int32) if x.dtype == np.int64 else x
            for name, x in held.items()
        }
        self._held = jax.device_put(held, whole)
        draw = functools.partial(
            draw_batch,
            num=data.batch_size,
            pair_prob=data.pair_prob,
            flip_prob=data.flip_prob,
            color_jitter=data.color_jitter,
        )
        self._draw = jax.jit(draw, out_shardings=rows)

    def __iter__(self):
        return self

    def __next__(self) -> dict[str, jax.Array]:
        key = jax.random.fold_in(jax.random.key(self._seed), self._next)
        self._next += 1
        return self._draw(self._held, key)

    def get_state(self) -> dict:
        """Batches given."""
        return {"next_index": self._next}

    def set_state(self, state: dict) -> None:
        """Goes on after as many batches."""
        self._next = int(state["next_index"])


def draw_batch(
    held: dict, key: jax.Array, *, num: int, pair_prob, flip_prob, color_jitter
) -> dict[str, Array]:
    """`num` pairs, as `pipeline.make_examples` describes a batch of them."""
    keys = jax.random.split(key, 3)
    first, second = _choose(held, keys[0], num, pair_prob)
    batch = {"is_pair": (first != second).astype(jnp.float32)}
    for side, chosen, view_key in (("a", first, keys[1]), ("b", second, keys[2])):
        look = functools.partial(
            random_view, flip_prob=flip_prob, color_jitter=color_jitter
        )
        image, drawn = jax.vmap(look)(
            jax.random.split(view_key, num),
            held["images"][chosen],
            held["landmarks"][chosen],
        )
        batch[f"image_{side}"], batch[f"mask_{side}"] = image, drawn
        batch[f"embedding_{side}"] = held["embeddings"][chosen]
    return batch


def _choose(held, key, num: int, pair_prob) -> tuple[Array, Array]:
    """Records (a, b) of random slots, by the rule of `pairs.choose_pair`."""
    keys = jax.random.split(key, 4)
    slot = jax.random.randint(keys[0], (num,), 0, len(held["slot_person"]))
    person, rank = held["slot_person"][slot], held["slot_rank"][slot]
    start, count = held["start"][person], held["count"][person]
    stride = held["slots_of"][person]
    steps = (count - rank + stride - 1) // stride
    uniform = jax.random.uniform(keys[1], (2, num))
    a = rank + stride * jnp.minimum((uniform[0] * steps).astype(jnp.int32), steps - 1)
    others = jnp.maximum(count - 1, 1)
    move = 1 + jnp.minimum((uniform[1] * others).astype(jnp.int32), others - 1)
    is_pair = (count > 1) & jax.random.bernoulli(keys[2], pair_prob, (num,))
    b = jnp.where(is_pair, (a + move) % count, a)
    return held["photos"][start + a], held["photos"][start + b]


def random_view(
    key: jax.Array,
    image: UInt8[Array, "s s 3"],
    landmarks: Float[Array, "5 2"],
    *,
    flip_prob: float,
    color_jitter: float,
) -> tuple[UInt8[Array, "s s 3"], UInt8[Array, "s s"]]:
    """One augmented view and its mask, as `transforms.random_view` in jax."""
    keys = jax.random.split(key, 3)
    size = image.shape[0]
    flip = jax.random.bernoulli(keys[0], flip_prob)
    mirrored = landmarks[_MIRRORED] * jnp.array([-1.0, 1.0])
    mirrored = mirrored + jnp.array([size - 1.0, 0.0])
    image = jnp.where(flip, image[:, ::-1], image)
    landmarks = jnp.where(flip, mirrored, landmarks)
    brightness, contrast, saturation = jax.random.uniform(
        keys[1], (3,), minval=1 - color_jitter, maxval=1 + color_jitter
    )
    x = image.astype(jnp.float32)
    x = jnp.clip((x * brightness - 127.5) * contrast + 127.5, 0.0, 255.0)
    gray = (x @ _LUMA)[..., None]
    x = saturation * x + (1.0 - saturation) * gray
    image = jnp.clip(jnp.round(x), 0, 255).astype(jnp.uint8)
    drawn = mask.egg(landmarks, size, *_random_shape(keys[2]), xp=jnp)
    return image, jnp.round(drawn * 255).astype(jnp.uint8)


def _random_shape(key: jax.Array) -> tuple[Array, Array]:
    """(growth of the four sides, softness), by the rule of `mask.random_mask`."""
    keys = jax.random.split(key, 6)

    def uniform(key, low, high, shape=()):
        return jax.random.uniform(key, shape, minval=low, maxval=high)

    is_wide = jax.random.bernoulli(keys[0], mask.WIDE_SHARE)
    wide = uniform(keys[1], *mask.WIDE_GROWTH, (4,))
    near = uniform(keys[2], *mask.GROWTH) * uniform(keys[3], *mask.SIDE_GROWTH, (4,))
    wide_soft = uniform(keys[4], *mask.WIDE_SOFTNESS)
    soft = uniform(keys[5], *mask.SOFTNESS)
    return jnp.where(is_wide, wide, near), jnp.where(is_wide, wide_soft, soft)


def main() -> None:
    """Packs the train and validation people of records."""
    from id2face_jax.data import records

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("records", help="folder that `id2face prepare` wrote")
    parser.add_argument("out", type=pathlib.Path, help="folder to make")
    args = parser.parse_args()
    there = records.split_names(args.records)
    names = [name for name in ("train", pairs.HELDOUT) if name in there]
    splits = {name: records.open_records(args.records, name) for name in names}
    counts = pack(splits, records.crop_geometry(args.records), args.out)
    size = sum(file.stat().st_size for file in args.out.iterdir())
    print(f"{args.out}: {counts}, {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
