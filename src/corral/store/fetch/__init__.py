"""Fetching model files: one hardened HTTP client, and transfers that survive whatever happens to them."""
