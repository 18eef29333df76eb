"""The dashboards as code: what each shows, in Python, from which `generate.py` writes what Grafana reads."""
