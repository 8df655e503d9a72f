"""The last stage of the embedded default: its decoder, on what its sampler gives.

id2face train --config configs/finishing128.py --workdir runs/finishing128 \
    --config.train.init_from=runs/lfw128-ema
id2face export --checkpoint runs/finishing128 --out id2face_jax/pretrained/lfw128

The export holds the whole model. Hardware: two CPU cores, hours in the background.
"""

from configs import lfw128


def get_config():
    """Returns the config of the finishing stage."""
    config = lfw128.get_config()
    config.task = "finishing"
    config.data.batch_size = 8  # pairs, so 16 images
    config.optim.lr = 5e-4
    config.optim.ema_decay = 0.998
    config.train.num_steps = 10_000
    config.train.sample_every = 250
    return config
