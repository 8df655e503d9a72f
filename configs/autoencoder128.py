"""The 128 px decoder of the embedded default; the encoder is a fixed transform.

id2face train --config configs/autoencoder128.py --workdir runs/autoencoder128
id2face export --checkpoint runs/autoencoder128 --out runs/autoencoder128-ema \
    --dtype float32

Hardware: two CPU cores. Hours and score: see the model card in
id2face_jax/pretrained.
"""

from configs import base


def get_config():
    """Returns the config of the autoencoder stage."""
    config = base.get_config()
    config.task = "autoencoder"
    config.data.batch_size = 8  # pairs, so 16 images: 4,096 cells are a batch
    config.data.color_jitter = 0.2
    # Sharp photos teach detail that LFW's lack.
    config.data.repeats = (("official_", 2), ("pif_", 2), ("sfhq_", 3))
    config.optim.lr = 1.5e-3
    config.optim.lr_warmup_steps = 100
    config.optim.ema_decay = 0.998
    config.train.num_steps = 10_000
    config.train.sample_every = 250
    config.train.save_every = 500
    return config
