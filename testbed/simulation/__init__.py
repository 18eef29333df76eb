"""A continuum in virtual time: the real estimators, state and decisions on profiles and traces, without inference."""
