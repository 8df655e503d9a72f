"""Faces on the host: detect, align, embed, mask, blend. numpy in and out."""
