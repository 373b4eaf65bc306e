"""
The command `corral`: one file a command group.

The modules import only typer and what is light; everything else is imported by the command that needs it, so that
`--help` and `--version` answer at once and work whatever is broken.
"""
