"""Whether files of any kind, and kills at any moment, do harm."""
