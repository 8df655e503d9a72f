"""A toy of the whole diffusion stage on synthetic records: seconds, for tests.

id2face train --config configs/smoke.py --workdir runs/smoke
"""

from configs import base


def get_config():
    """Returns a config with every part of the default, each as small as it goes."""
    config = base.get_config()
    config.data.records = "synthetic"
    config.data.image_size = 32
    config.data.batch_size = 8
    config.autoencoder.weights = "random"  # untrained: a toy has no use for a real one
    config.autoencoder.factor = 8
    config.autoencoder.latent_channels = 4
    config.autoencoder.critic_dim = 4
    config.autoencoder.dims = (8, 16)
    config.autoencoder.depths = (1, 1)
    config.model.embedding_dim = 16
    config.model.identity_dim = 8
    config.model.identity_hidden_dim = 16
    config.model.attribute_dim = 16
    config.model.attribute_depth = 1
    config.model.leak_probe_dim = 32
    config.model.condition_dim = 16
    config.model.attribute_channels = 4
    config.model.identity_grid = 2
    config.model.unet_dims = (16, 32)
    config.model.unet_depths = (1, 1)
    config.model.sample_steps = 2
    config.loss.critic_dim = 8
    config.loss.verifier_dim = 8
    # A toy has no recognizer to please, and other embeddings.
    config.loss.asked_identity = 0.0
    config.loss.source_identity = 0.0
    config.optim.lr_warmup_steps = 2
    config.train.num_steps = 6
    config.train.log_every = 2
    config.train.sample_every = 3
    config.train.save_every = 3
    return config
