"""The scheduler's owner loop (not yet here)."""
