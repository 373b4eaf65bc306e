"""The command `corral`."""


def main() -> None:
    """Nothing yet."""
