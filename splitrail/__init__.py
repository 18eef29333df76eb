"""Splitrail: one neural network across edge, fog and cloud, with a split that moves while it runs."""

__version__ = "0.1.0"
