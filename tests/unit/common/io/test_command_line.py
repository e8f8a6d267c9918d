"""Help texts of programs."""

from common.io.command_line import parser_of

DOCUMENT = """Trains something.

Details.

Examples:
  python -m x --steps 3
"""


def test_help_has_the_description_and_ends_with_the_examples() -> None:
    text = parser_of("python -m x", DOCUMENT).format_help()
    assert text.index("Trains something.\n\nDetails.") < text.index("options:")
    assert text.endswith("examples:\n  python -m x --steps 3\n")
