"""A toy of the full scale on synthetic records: every part of it, in seconds.

id2face train --config configs/smoke_full_scale.py --workdir runs/smoke_full_scale

Score: none, it is for tests. Each width is a multiple of 8, so --config.mesh.fsdp=8
works as well.
"""

from configs import full_scale, smoke


def get_config():
    """Returns the full scale's config at the sizes of configs/smoke.py."""
    config, toy = full_scale.get_config(), smoke.get_config()
    config.data = toy.data
    config.train = toy.train
    config.optim.lr_warmup_steps = toy.optim.lr_warmup_steps
    config.mesh.fsdp = 1
    config.autoencoder.weights = "random"
    config.autoencoder.dims = (8, 8, 16, 16)
    config.autoencoder.depths = (1, 1, 1, 1)
    config.autoencoder.groups = 4
    config.model.embedding_dim = 16
    config.model.identity_dim = 8
    config.model.identity_hidden_dim = 16
    config.model.attribute_stride = 2
    config.model.attribute_dim = 16
    config.model.attribute_depth = 1
    config.model.leak_probe_dim = 32
    config.model.condition_dim = 16
    config.model.unet_dims = (8, 16)
    config.model.unet_depths = (1, 1)
    config.model.unet_heads = (2, 2)
    config.model.unet_attention_levels = (0,)
    config.model.unet_groups = 4
    config.model.token_dim = 16
    config.model.identity_tokens = 2
    config.model.attribute_grid = 2
    config.model.sample_steps = 2
    return config
