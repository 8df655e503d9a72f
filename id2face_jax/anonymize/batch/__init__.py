"""Runs over many files: found, worked on, recorded, put in place."""
