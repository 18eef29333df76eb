"""`splitrail infer`: what it refuses before anything is sent."""

import pytest

from splitrail.cli import main


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--timeout", "-1", "'-1' is not a number of seconds above 0"),
        ("--timeout", "nan", "'nan' is not a number of seconds above 0"),
        ("--timeout", "1e99", "'1e99' is not a number of seconds above 0, and of at most a day"),
        ("--top", "0", "'0' is not a whole number from 1 to 100"),
        ("--top", "many", "'many' is not a whole number from 1 to 100"),
    ],
)
def test_an_option_out_of_range_is_one_line(
    capsys: pytest.CaptureFixture[str], option: str, value: str, complaint: str
) -> None:
    """Exit code 2, and what would be right."""
    with pytest.raises(SystemExit) as left:
        main(["infer", "photos", "china.jpg", option, value])
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert complaint in printed
    assert printed.count("\n") == 1
