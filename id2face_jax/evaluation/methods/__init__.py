"""What is compared: the generator's variants, and controls that show the scale."""
