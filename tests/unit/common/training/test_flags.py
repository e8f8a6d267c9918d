"""Help texts and flags of the trainings."""

from pathlib import Path

from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.weights.manifest import WEIGHTS_DIRECTORY

DOCUMENT = """Trains something.

Details.

Examples:
  python -m x --steps 3
"""


def test_help_has_the_description_and_ends_with_the_examples() -> None:
    text = parser_of("python -m x", DOCUMENT).format_help()
    assert text.index("Trains something.\n\nDetails.") < text.index("options:")
    assert text.endswith("examples:\n  python -m x --steps 3\n")


def test_flags_have_defaults() -> None:
    parser = parser_of("python -m x", DOCUMENT)
    add_training_flags(parser, minutes=2.5, batch=4, seed=7, threads=1)
    add_steps_flag(parser)
    add_result_flags(parser, export_help="write the weights")
    options = parser.parse_args([])
    assert (options.minutes, options.batch, options.seed, options.threads, options.steps) == (2.5, 4, 7, 1, None)
    assert (options.resume, options.shipped, options.export, options.json) == (False, False, False, None)
    assert options.weights == WEIGHTS_DIRECTORY
    assert parser.parse_args(["--weights", "/tmp/w"]).weights == Path("/tmp/w")
