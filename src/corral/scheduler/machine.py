"""The scheduler's pure machine (not yet here)."""
