"""What a run is asked for, checked before anything heavy is imported."""
