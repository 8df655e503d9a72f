"""Writes the EMA weights and the config of a training run to a folder of their own.

An export is what users load: no optimizer state, and for the diffusion stage the frozen
autoencoder beside the model.
"""

import argparse

from id2face_jax.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what to export, how it is stored, and how it samples by default."""
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="WORKDIR",
        help="Export this run of `id2face train`.",
    )
    options.add_out(parser, "Write to this folder, which must not exist yet.")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        help="Store numbers so; they load as float32.",
    )
    parser.add_argument(
        "--step",
        type=int,
        metavar="N",
        help="Take the checkpoint of this step. (default: the newest)",
    )
    parser.add_argument(
        "--autoencoder",
        metavar="DIR",
        help="Take the decoder of this export: the encoder is a fixed transform, so a "
        "decoder may be trained on under a trained model. (default: the run's own)",
    )
    group = parser.add_argument_group("how it samples, where it is not told otherwise")
    options.add_steps(group)
    options.add_temperature(group)
    parser.add_argument(
        "--serving",
        action="store_true",
        help="Write the sampler as a program for CPU, NVIDIA GPU and TPU, too; see "
        "docs/serving.md.",
    )


def run(args: argparse.Namespace) -> int:
    """Exports and says what."""
    import jax

    from id2face_jax.generation import exports, sampling, serving
    from id2face_jax.settings.saved import AUTOENCODER_FIELDS, check_same_fields

    config, weights, step = exports.load_run(args.checkpoint, args.step)
    config = sampling.with_defaults(config, args.steps, args.temperature)
    if args.autoencoder is not None:
        saved, trees = exports.load_export(args.autoencoder)
        check_same_fields(saved, config, AUTOENCODER_FIELDS, args.autoencoder)
        weights = weights | {"autoencoder": trees["autoencoder"]}
    # First the program, which may fail: then nothing is left behind.
    program = serving.export_sampler(config, weights) if args.serving else None
    out = exports.save_export(args.out, config, weights, args.dtype)
    num = sum(x.size for x in jax.tree.leaves(weights))
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(
        f"{out}: {config.task} of step {step}, {num / 1e6:.2f} M parameters as "
        f"{args.dtype}, {size / 2**20:.1f} MiB"
    )
    if program is not None:
        (out / serving.PROGRAM).write_bytes(program)
        size, platforms = len(program) / 2**20, ", ".join(serving.PLATFORMS)
        print(f"{out / serving.PROGRAM}: sampler for {platforms}, {size:.1f} MiB")
    return 0
