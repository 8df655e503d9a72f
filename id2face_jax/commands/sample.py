"""Draws new faces for faces of the records: a labelled grid, source beside result.

Columns: the source, its own identity back, and three faces with other identities.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what to sample from, how, and where to."""
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="export, or workdir of a training run (default: the embedded model)",
    )
    parser.add_argument("--records", required=True, help="of `id2face prepare`")
    parser.add_argument("--split", default="validation", help="default: validation")
    parser.add_argument("--num", type=int, default=16, help="faces (default: 16)")
    parser.add_argument("--out", required=True, help="PNG file")
    parser.add_argument(
        "--steps", type=int, help="DDIM steps (default: the config's sample_steps)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        help="0 to 1, scale of the noise that sampling starts from: less is smoother "
        "(default: the config's)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--mode",
        default="embedding",
        choices=("embedding", "latent", "none", "own", "null"),
        help="where the new identity is held away from the source's, or: none, a "
        "random one; own, the source's; null, no identity (default: embedding)",
    )
    parser.add_argument(
        "--angle",
        type=float,
        default=90.0,
        help="degrees to the source's identity, 0 to 180 (default: 90, orthogonal)",
    )


def run(args: argparse.Namespace) -> int:
    """Samples and writes the grid."""
    import time

    import ml_collections

    from id2face_jax.data import pipeline
    from id2face_jax.generation import exports, sampling
    from id2face_jax.training import grids

    if not 0.0 <= args.angle <= 180.0:
        raise ValueError(f"angle is {args.angle}; use 0 to 180 degrees")
    if args.seed < 0:
        raise ValueError(f"seed is {args.seed}; use 0 or more")
    config, weights = exports.load_weights(args.checkpoint)
    if config.task != "id2face":
        raise ValueError(
            f"{args.checkpoint} holds the {config.task} stage, which cannot sample; "
            "give a run or export of task id2face"
        )
    config = sampling.with_defaults(config, args.steps, args.temperature)
    wanted = ml_collections.ConfigDict(config).copy_and_resolve_references()
    wanted.data.records = args.records
    faces = sampling.load_faces(pipeline.open_source(wanted, args.split), args.num)
    began = time.perf_counter()
    cells, labels = sampling.sample_columns(
        config,
        weights,
        faces,
        mode=args.mode,
        num_steps=config.model.sample_steps,
        angle=args.angle,
        seed=args.seed,
    )
    grids.save_png(args.out, grids.make_grid(cells, labels))
    print(f"{args.out}: {args.num} faces in {time.perf_counter() - began:.1f} s")
    return 0
