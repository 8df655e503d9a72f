"""The 128 px autoencoder of the embedded default.

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
    config.data.batch_size = 16  # pairs, so 32 images
    config.data.color_jitter = 0.2
    config.optim.lr = 1.5e-3
    config.optim.ema_decay = 0.998
    config.train.num_steps = 2_500
    config.train.sample_every = 250
    config.train.save_every = 250
    return config
