"""Values and words of the product: no I/O, no clock, no framework."""
