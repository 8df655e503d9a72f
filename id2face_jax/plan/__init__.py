"""Ahead-of-time compiling for chips that are not here, and what it tells."""
