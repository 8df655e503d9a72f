"""Generation: exported weights, and new faces from them."""
