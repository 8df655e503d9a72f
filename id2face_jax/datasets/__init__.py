"""Datasets in and out: pictures anonymized, and labels that still fit them."""
