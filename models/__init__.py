"""Splitrail's view of a .tflite file: its graph, its cut points, its segments and the runtime that runs them."""
