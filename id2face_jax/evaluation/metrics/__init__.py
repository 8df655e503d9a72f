"""The figures: privacy, attacks, utility, quality, with their intervals."""
