"""Whose face it is, and which new identity follows from that."""
