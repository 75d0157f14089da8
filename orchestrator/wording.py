"""Small words for people."""

DRIFTED = "drifted: "
"""How the reason begins why a target of a plan file is left alone that has changed since the file was made."""


def counted(number: int, noun: str) -> str:
    """`1 target`, `2 targets`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
