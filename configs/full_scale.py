"""What the two full-scale experiments share: Stable-Diffusion-class networks.

The autoencoder and the UNet have the shapes of Stable Diffusion 1.5, so that its public
weights convert (docs/converting.md) and training starts from them; embeddings are
ArcFace's. celebahq256.py and ffhq512.py are the experiments; this file alone is none.
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    """The fields that differ from configs/base.py, and those that are new."""
    config = base.get_config()
    config.autoencoder = _autoencoder(config.autoencoder)
    config.model = _model(config.model)
    # The recognizer that could look at sampled identities is the one of the embedded
    # default, which has other embeddings.
    config.loss.deployed_every = config.loss.returned_every = 0
    config.loss.verifier_dim = 0
    config.loss.critic_dim = 0  # networks of this size are sharp without one
    config.optim.b2 = 0.999  # long runs
    config.optim.lr_warmup_steps = 1_000  # new layers first, before much of UNet moves
    config.optim.ema_decay = 0.9999  # as Stable Diffusion was trained
    config.train.dtype = "bfloat16"
    # Without it the activations of one 512 px pair are more than a v5e chip has.
    config.train.remat = "full"
    config.train.log_every = 50
    config.train.sample_every = 2_000
    config.train.save_every = 1_000
    config.data.num_threads = 16  # a pod's hosts have a hundred cores and more
    # Every width is a multiple of 64: no chip beyond the 64th can hold less, so more
    # chips than that go to `data`.
    config.mesh.fsdp = 64
    config.sharding_rules = (
        (
            "(bias|scale|null_identity|position)$",
            "replicate",
        ),  # vectors
        ("mix/kernel$", "replicate"),  # 3x3xc: small
        ("quant_conv/kernel$", "replicate"),  # 8x8 and 4x4
        ("kernel$", "fsdp"),
    )
    return config


def _autoencoder(ae: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    del ae.factor  # the embedded one's: here it follows from the levels
    ae.kind = "stable_diffusion"
    ae.weights = "runs/sd-autoencoder"  # of `id2face convert`
    ae.latent_channels = 4
    ae.dims = (128, 256, 512, 512)  # at 1, 1/2, 1/4 and 1/8 of the image's size
    ae.depths = (2, 2, 2, 2)  # residual blocks going down; one more coming up
    ae.scale = 0.18215  # brings latents to unit variance (Rombach et al. 2022, D.1)
    ae.codebook = 0  # vectors of a quantising autoencoder; 0: the KL kind
    ae.attention_levels = ()  # that attend, besides the middle
    ae.groups = 32  # of the group normalisation
    return ae


def _model(model: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    del model.unet_ratio, model.unet_attention_from  # the embedded UNet's
    model.kind = "stable_diffusion"
    model.embedding_dim = 512  # ArcFace's
    model.identity_dim = 256
    model.identity_hidden_dim = 1024
    model.attribute_stride = 4
    model.attribute_dim = 512
    model.attribute_depth = 4
    model.condition_dim = 768
    model.identity_grid = 0
    model.attribute_channels = 4
    model.harmonizer = "gated"
    model.portrait = False  # cross-attention brings the identity to its places
    model.unet_dims = (320, 640, 1280, 1280)
    model.unet_depths = (2, 2, 2, 2)  # residual blocks going down; one more coming up
    model.unet_heads = (8, 8, 8, 8)  # attention heads a level
    model.unet_attention_levels = (0, 1, 2)  # that attend, besides the middle
    model.unet_groups = 32  # of the group normalisation
    model.token_dim = 768  # the text tokens' of Stable Diffusion 1.5
    model.identity_tokens = 4
    model.attribute_grid = 8  # cells on each axis, a token each
    # A converted UNet starts as itself: what it predicts, at the noise levels it knows.
    model.prediction = "eps"
    model.schedule = "stable_diffusion"
    model.sample_steps = 50
    model.sample_temperature = 1.0
    return model
