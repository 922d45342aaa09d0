"""How numbers are written for people."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number of things: ``1 row``, ``2,000 rows``; where an s does not make the plural, it is given."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
