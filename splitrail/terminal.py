"""Makes text from elsewhere safe to show in a terminal."""


def printable(text: str) -> str:
    """`text` with `?` for every character that could steer a terminal (escapes, line ends and the like)."""
    return "".join(character if character.isprintable() else "?" for character in text)
