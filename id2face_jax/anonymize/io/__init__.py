"""Picture files and the metadata in them."""
