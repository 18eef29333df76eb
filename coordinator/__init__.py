"""Splitrail's coordinator: state, cost model, planner and strategies, telemetry store, HTTP interface."""
