"""The anonymizer: photo in, verified photo and report out."""
