"""The published experiment: adaptive against static partitioning, emulated or simulated, and its report."""
