"""Stable Diffusion's networks in linen, for its converted weights."""
