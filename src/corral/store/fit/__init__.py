"""Fit: whether a model runs on this host, with what, and how fast; before it is loaded, or even fetched."""
