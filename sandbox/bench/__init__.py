"""What launches cost on this host: `sandbox bench`, and the parts that the benchmarks of the repository share with it."""
