"""`id2face benchmark`: how fast, beside the machine's limits and PyTorch."""
