"""The shelf: the model files that are here, in the store and in the caches of other programs."""
