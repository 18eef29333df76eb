"""Estimates as words: no more digits than are known, and none in powers of ten."""


def significant(value: float, digits: int) -> str:
    """The value with so many significant digits: 2050 and 0.54 rather than 2.05e+03 and 0.543."""
    return f"{float(f'{value:.{digits}g}'):.10g}"
