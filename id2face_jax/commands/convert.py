"""Converts public weights to an export: autoencoders, UNets, face recognizers.

Takes diffusers' AutoencoderKL, VQModel and UNet2DConditionModel (.safetensors),
CompVis' first stages (.safetensors, .ckpt), insightface's IResNet (.pth, .onnx) and
MobileFaceNet (.onnx), and MobileNet recognizers of TensorFlow.js (.json, with its
weights beside it). What the file holds decides. A UNet becomes the start of a training
run, so it needs that run's --config. Every tensor must find its place; one that does
not is named.
"""

import argparse
import json
import pathlib

from id2face_jax.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the file, --out and --config."""
    parser.add_argument(
        "file", help="Convert this .safetensors, .ckpt, .pth, .onnx or .json file."
    )
    options.add_out(parser, "Write to this folder, which must not exist yet.")
    parser.add_argument(
        "--config",
        metavar="NAME|FILE",
        help="Fit a UNet to the run that it starts, such as ffhq512. "
        "--config.GROUP.FIELD=VALUE changes a field.",
    )


def run(args: argparse.Namespace) -> int:
    """Converts and says what was found and what was left out."""
    path = pathlib.Path(args.file)
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    config, weights, left_out = _convert(path, args.config, args.overrides)
    return _write(args.out, path, config, weights, left_out)


def _convert(path: pathlib.Path, config_path, overrides):
    """(config, weights, names left out) of the file, by what it holds."""
    from id2face_jax.convert import diffusers, insightface, mobilefacenet, sources, tfjs
    from id2face_jax.convert.onnx_graph import Graph

    if path.suffix == ".onnx":
        graph = Graph(path)
        # MobileFaceNet's convolutions are depthwise, IResNet's never are.
        if graph.has_grouped_convolution():
            return *_recognizer(mobilefacenet.from_onnx(graph)), []
        return *_recognizer(insightface.from_onnx(graph)), []
    if path.suffix == ".json":
        return *_recognizer(tfjs.from_graph(path)), []
    tensors = sources.read_tensors(path)
    if diffusers.is_unet(tensors):
        return *_unet(tensors, path, config_path, overrides), []
    if diffusers.is_autoencoder(tensors):
        return _autoencoder(tensors, path)
    if insightface.is_iresnet(tensors):
        return *_recognizer(insightface.from_tensors(tensors, str(path))), []
    raise ValueError(
        f"{path} holds no autoencoder, UNet or IResNet that convert knows; its first "
        f"tensor is {min(tensors)}"
    )


def _recognizer(converted):
    config, params = converted
    return config, {"recognizer": params}


def _json_beside(path: pathlib.Path) -> dict:
    """diffusers' config.json of the folder that the file lies in, or {}."""
    file = path.parent / "config.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def _autoencoder(tensors, path: pathlib.Path):
    import ml_collections

    from id2face_jax.convert import diffusers
    from id2face_jax.models import build

    tensors, left_out = diffusers.autoencoder_tensors(tensors)
    ae = diffusers.autoencoder_config(tensors, _json_beside(path), str(path))
    config = ml_collections.ConfigDict(
        {"task": "autoencoder", "autoencoder": ae, "train": {"dtype": "float32"}}
    )
    model = build.make_autoencoder(config)
    params = diffusers.convert_autoencoder(tensors, model, str(path))
    return config, {"autoencoder": params}, left_out


def _unet(tensors, path: pathlib.Path, config_path, overrides):
    """The whole trainable model of the config, started with the file's UNet."""
    from id2face_jax.convert import diffusers, start
    from id2face_jax.generation import exports
    from id2face_jax.settings.load import load_config

    if config_path is None:
        raise ValueError(
            f"{path} holds a UNet, which starts a training run; give the run's "
            "--config, for example configs/ffhq512.py"
        )
    config = load_config(config_path, overrides)
    if found := _json_beside(path):
        diffusers.check_unet_config(found, config, str(path))
    weights = {"model": start.start_model(config, tensors, str(path))}
    if config.autoencoder.weights not in ("", "random"):
        _, trees = exports.load_export(config.autoencoder.weights)
        weights["autoencoder"] = trees["autoencoder"]
    return config, weights


def _write(out, path, config, weights, left_out) -> int:
    import jax

    from id2face_jax.generation import exports

    folder = exports.save_export(out, config, weights)
    sizes = {
        name: sum(x.size for x in jax.tree.leaves(tree))
        for name, tree in weights.items()
    }
    found = ", ".join(f"{name} of {n / 1e6:.2f} M" for name, n in sizes.items())
    print(f"{folder}: {found} parameters, from {path.name}")
    if left_out:
        print(
            f"left out: {len(left_out)} tensors of other networks, from {left_out[0]} "
            f"to {left_out[-1]}"
        )
    return 0
