"""FFHQ at 512 px, from Stable Diffusion 1.5's weights. Not yet trained.

id2face convert vae.safetensors --out runs/sd-autoencoder
id2face convert unet.safetensors --config configs/ffhq512.py --out runs/ffhq512-start
id2face train --config configs/ffhq512.py --workdir runs/ffhq512 --distributed auto

Records: the 70,000 photos of FFHQ with embeddings of an ArcFace IResNet-100 (weights
for non-commercial research only). FFHQ has no identities, so all pairs are self-pairs.
Hardware: a v5p slice of 64 chips (4x4x4) or a v5e pod of 256 (16x16), or any number
that 64 divides; on one node of eight GPUs add --config.mesh.fsdp=8.
Cost: 926 M parameters train; the lowered step counts 4.7e15 operations, before
recomputation. At 45 % of 64 v5p chips' peak that is some six hours; never measured.
XLA's attention does not reach that: `id2face plan --effort -0.5`, a slower program,
said 15 hours and 26 GB a chip; on the v5e pod 15 hours and 7.9 GB. The kernel that is
taken now saves some 3 and 2 of these hours (docs/scaling.md, other topologies too).
Score: not yet trained.
"""

from configs import full_scale


def get_config():
    """Returns the config of the experiment."""
    config = full_scale.get_config()
    config.data.records = "runs/records/ffhq512"
    config.data.image_size = 512
    config.data.pair_prob = 0.0
    # 1024 photos a step: 16 on each of 64 chips, 4 on each of 256.
    config.data.batch_size = 512
    # The square-root rule from Stable Diffusion's 1e-4 at a batch of 2048.
    config.optim.lr = 7e-5
    config.train.num_steps = 50_000  # 730 passes over the photos
    config.train.init_from = "runs/ffhq512-start"
    return config
