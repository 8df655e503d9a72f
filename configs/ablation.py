"""A small ID2Face for ablations: every part of the default, in minutes a run.

.venv/bin/python -m studies.ablation

Hardware: two CPU cores, two minutes a run. The command above trains it once whole and
once without each part; the faces are rougher than the default's.
"""

from configs import base


def get_config():
    """Returns the config of the cell "full"."""
    config = base.get_config()
    # The shipped decoder: the encoder is fixed, and all cells share both, frozen.
    config.autoencoder.weights = "id2face_jax/pretrained/lfw128"
    config.autoencoder.factor, config.autoencoder.latent_channels = 8, 24
    config.data.image_size = 128
    config.data.crop_units, config.data.crop_center = 160.0, (56.0, 64.0)
    config.data.batch_size = 8
    # No recognizer and no critic: minutes a run, and the parts stand for themselves.
    config.loss.asked_identity = config.loss.source_identity = 0.0
    config.loss.critic_dim = 0
    config.model.attribute_dim = 96
    config.model.attribute_depth = 1
    config.model.leak_probe_dim = 256
    config.model.condition_dim = 64
    config.model.unet_dims = (96, 192)
    config.model.unet_depths = (1, 1)
    config.model.unet_ratio = 2.0
    config.optim.ema_decay = 0.99  # of hundreds of steps
    config.train.num_steps = 400
    config.train.sample_every = 400
    config.train.save_every = 200
    config.train.num_validation_batches = 1
    config.train.keep = 1
    return config
