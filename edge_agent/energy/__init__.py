"""Splitrail's energy meters: where a node's joules come from, and what each figure covers."""
