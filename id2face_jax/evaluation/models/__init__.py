"""The networks that measure; none of them takes part in making a picture."""
