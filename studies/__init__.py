"""The scripts that measure what docs/ says, and draw its figures."""
