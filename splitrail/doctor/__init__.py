"""Splitrail's doctor: looks at this machine, its settings and its site, and says what is wrong and what would help."""
