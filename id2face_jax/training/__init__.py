"""Training: objectives, steps, sharding, checkpoints, and the loop that ties them."""
