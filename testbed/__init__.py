"""Splitrail's emulated continuum on one machine: the demo, experiments and link traces."""
