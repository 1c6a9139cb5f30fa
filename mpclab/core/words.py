"""Words that every layer says alike."""


def count(number: int, word: str) -> str:
    """`1 message`, `3 messages`, `2 parties`."""
    plural = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{number:,} {word if number == 1 else plural}".replace(",", " ")
