"""The embedded default: ID2Face at 160 px on a frozen autoencoder.

id2face train --config configs/lfw128.py --workdir runs/lfw128 \
    --config.autoencoder.weights=runs/autoencoder128-ema \
    --config.loss.second_recognizer=runs/faceres
id2face export --checkpoint runs/lfw128 --out id2face_jax/pretrained/lfw128

Hardware: two CPU cores, hours in the background. Hours and score: see the model card
in id2face_jax/pretrained.
"""

from configs import base


def get_config():
    """Returns the config of the diffusion stage."""
    config = base.get_config()
    config.autoencoder.weights = "runs/autoencoder128-ema"
    # Sharp and diverse faces, of which there are few, beside LFW's.
    config.data.repeats = (("official_", 2), ("pif_", 2), ("sfhq_", 3))
    return config
