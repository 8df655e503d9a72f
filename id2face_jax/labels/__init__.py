"""Labeled datasets: which pictures their files name, and what may leave with them."""
