"""Small programs that the benchmark starts: each runs alone, in another interpreter or another language."""
