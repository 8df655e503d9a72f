"""Evaluation: privacy, utility, quality, each with its controls."""
