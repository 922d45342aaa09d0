"""Numbers in text."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 row``, ``2,000 rows``; ``plural`` is needed if it is not noun + s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
