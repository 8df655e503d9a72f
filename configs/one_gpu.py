"""The embedded default's networks, trained on one GPU that is lent for minutes.

launch/one_gpu.sh PACKED OUT MINUTES

Hardware: one H100 or H200; batches are drawn on the device from a packed folder, and
the run ends by the clock. The weights are those of configs/lfw128.py, and either config
goes on from the other.
"""

from configs import lfw128


def get_config():
    """Returns the config of the run."""
    config = lfw128.get_config()
    config.data.batch_size = 256
    # The square-root rule from 1e-3 at 16 pairs would be 4e-3; the adversaries and the
    # recognizer's gradient ask for less.
    config.optim.lr, config.optim.lr_warmup_steps = 1.5e-3, 200
    config.optim.ema_decay = 0.9995
    config.train.dtype = "bfloat16"
    config.train.num_steps = 1_000_000  # the clock ends it
    config.train.log_every = 100
    config.train.sample_every = 2_000
    config.train.save_every = 2_000
    config.train.max_minutes = 8.0
    return config
