"""Splitrail's agent, which runs on every node: executor, profiler, energy meters, link probes, tensor transport."""
