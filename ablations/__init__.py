"""Experiments: overlays of params.yaml, and the tables that the documents quote."""
