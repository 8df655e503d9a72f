"""Face recognition networks in linen, for converted weights."""
