"""Promises between rooms, one a file. A caller writes the Protocol it needs; nothing here acts."""
