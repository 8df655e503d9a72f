"""What `id2face anonymize` does to real photos: docs/anonymizing/evidence.md."""
