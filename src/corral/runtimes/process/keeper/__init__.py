"""
The keeper: one small process that is the parent of all engines, so that none of them outlives Corral unasked.

Standard library only, single-threaded, and nothing of Corral is imported: it must start fast, stay small and survive
what Corral does not. Read `__main__` (the loop and the protocol), `child` (one engine's life), `output` (its lines),
`procs` (what the kernel knows).
"""
