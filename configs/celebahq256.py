"""CelebA-HQ at 256 px, from Stable Diffusion 1.5's weights. Not yet trained.

id2face convert vae.safetensors --out runs/sd-autoencoder
id2face convert unet.safetensors --config configs/celebahq256.py \
    --out runs/celebahq256-start
id2face train --config configs/celebahq256.py --workdir runs/celebahq256 \
    --distributed auto

Records: 24,183 photos of CelebA-HQ's train split, by person, with embeddings of an
ArcFace IResNet-100 (weights for non-commercial research only).
Hardware: a v5p slice of 64 chips (4x4x4), or any number that 64 divides; on one node
of eight GPUs add --config.mesh.fsdp=8.
Cost: 926 M parameters train; the lowered step counts 5.4e14 operations, before
recomputation. At 45 % of 64 v5p chips' peak that is some 20 minutes; never measured.
XLA's attention does not reach that: `id2face plan --effort -0.5`, a slower program,
said 0.8 hours and 4.5 GB a chip (docs/scaling.md, other topologies too).
Score: not yet trained.
"""

from configs import full_scale


def get_config():
    """Returns the config of the experiment."""
    config = full_scale.get_config()
    config.data.records = "runs/records/celebahq256"
    config.data.image_size = 256
    # 512 photos a step: the smallest that fills 64 chips with 8 each, since a small
    # data set gains little from a larger batch.
    config.data.batch_size = 256
    # Half of the rate that Stable Diffusion was trained at for four times the batch:
    # the square-root rule from its 1e-4 at 2048.
    config.optim.lr = 5e-5
    config.train.num_steps = 20_000  # 420 passes over the photos
    config.train.init_from = "runs/celebahq256-start"
    return config
