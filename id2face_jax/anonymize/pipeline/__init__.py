"""One picture: its faces found, changed, verified; the Python API."""
