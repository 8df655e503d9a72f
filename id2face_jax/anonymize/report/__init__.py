"""What a run says of its results: as JSON, as a page, on the terminal."""
