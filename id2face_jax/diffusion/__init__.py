"""Schedule, process and DDIM sampler: pure jnp, no model and no files."""
