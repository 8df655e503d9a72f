"""What is said of the figures: JSON, tables, pictures, and whether it passed."""
