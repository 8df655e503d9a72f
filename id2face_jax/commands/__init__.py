"""One module a verb of `id2face`: `add_arguments(parser)` and `run(args) -> int`."""
