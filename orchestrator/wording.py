"""Small words for people."""


def counted(number: int, noun: str) -> str:
    """`1 target`, `2 targets`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
