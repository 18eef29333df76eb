"""What is kept of a site's telemetry: the schema, the stores that keep it and what can be asked of them."""
