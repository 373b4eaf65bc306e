"""The introducer: builds the rooms from a Fleet and wires them; no logic."""
