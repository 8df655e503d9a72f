"""The detector of truncated faces: trained and measured (docs/truncated_faces)."""
