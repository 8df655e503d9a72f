"""What XLA is told beside the program, where its own choice is not ours."""

import jax

# On CPU, XLA hands convolutions and products to YNNPACK, which plans each of them anew
# at a process's first call: 1.8 s for dlib's network. Later calls take 1.6 times as
# long with it (32 faces), the sampler's 1.1 times (16 faces, two cores). Train steps
# keep it: they take 1.2 times as long without.
_INFERENCE = {"cpu": {"xla_cpu_experimental_ynn_fusion_type": ""}}


def inference_options() -> dict[str, str] | None:
    """`compiler_options` of `jax.jit` for networks that are run, not trained."""
    return _INFERENCE.get(jax.default_backend())
