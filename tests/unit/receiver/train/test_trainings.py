"""The receiver's trainings as programs: their examples."""

from common.training.run import parse
from receiver.train import atlas_completion
from tests.support.training_examples import flags_of_examples, recipe_of


def test_examples_parse() -> None:
    commands = flags_of_examples(atlas_completion)
    assert commands
    for flags in commands:
        assert vars(parse(recipe_of(atlas_completion), flags))["out"]
