"""Makes text from elsewhere safe to show in a terminal."""


def printable(text: str) -> str:
    """`text` with `?` for every character that could steer a terminal (escapes, line ends and the like)."""
    return "".join(character if character.isprintable() else "?" for character in text)


def printable_lines(text: str) -> str:
    """The same with its line ends kept, for text that is several lines by our own will."""
    return "\n".join(map(printable, text.split("\n")))
