"""XLA's flags of the tests. Imports nothing: they must be set before jax is."""

# Tests compile far more than they run. Level 0 compiles them in a third of the time,
# and without the newer emitters of fused loops a train step takes 5 s instead of 31.
FLAGS = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1 "
    # Eight devices on two cores: collectives that may overlap wait for each other's
    # threads for ever.
    "--xla_cpu_enable_concurrency_optimized_scheduler=false"
)
