"""Records: photos to aligned faces, pairs, augmentation and the Grain pipeline."""
