"""Linen modules: autoencoder, identity VAE, recomposer, harmonizer, UNet."""
