"""HTML pages: their templates, and how they are filled in."""
