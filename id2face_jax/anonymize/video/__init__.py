"""Videos: faces tracked over frames, changed and written."""
