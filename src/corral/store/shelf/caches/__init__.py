"""
What other programs have fetched already: found, read and used where it lies, never changed or removed.

Each program's folder has a reader of its own; whatever in it is not as its program writes it is passed over.
"""
