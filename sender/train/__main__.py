"""Trains what both daemons use in one run of half an hour, where a GPU is lent for so long.

Renders crops, trains perception and the detector meanwhile, and then what reads them: verifier, semantics, confidence,
clothing; and, beside them, the mixture and the diffusion of outfits.  All weights go into the package, with their
scores in its manifest.  What has succeeded is not repeated when the same command is given again, and trainings continue
from their checkpoints.

Trainings continue from the package's weights.  --share 0.01 takes a hundredth of crops and minutes, to see that
all of it runs; it belongs into a copy of the repository, because its weights are worth nothing.

Photographs that travel to a machine with a GPU are made with sender.train.photographs --quality.

Examples:
  python -m sender.train --recipe gpu --photographs photographs --out runs/gpu
  python -m sender.train --recipe gpu --photographs photographs --out runs/gpu --share 0.01 --dry-run
"""

import argparse
import os
from pathlib import Path

from common.errors import exit_code_of
from common.io.command_line import parser_of
from common.training.stages import Schedule, table
from common.weights.devices import resolve_device
from sender.train.gpu_recipe import GpuRecipe

RECIPES = {"gpu": GpuRecipe}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train", __doc__)
    add = parser.add_argument
    add("--recipe", choices=RECIPES, required=True, help="what is trained, and how long")
    add("--photographs", type=Path, metavar="DIR", required=True, help="folder of sender.train.photographs")
    add("--out", type=Path, metavar="DIR", required=True, help="folder of crops, checkpoints, logs and scores")
    add("--minutes", type=float, default=24.0, help="how long all of it takes, about (default: %(default)g)")
    add("--share", type=float, default=1.0, help="of crops and minutes; 0…1 (default: %(default)g)")
    add("--cores", type=int, default=os.cpu_count() or 1, help="of this machine that it may use (default: %(default)s)")
    add("--dry-run", action="store_true", help="print the commands only")
    options = parser.parse_args(arguments)
    if not 0 < options.share <= 1 or options.minutes <= 0 or options.cores < 1:
        parser.error("--share lies between 0 and 1, --minutes above 0, and --cores is 1 or more")
    return options


def main() -> int:
    options = parse()
    gpu = resolve_device("auto").type == "cuda"
    recipe = RECIPES[options.recipe](
        out=options.out,
        photographs=options.photographs,
        minutes=options.minutes * options.share,
        share=options.share,
        cores=options.cores,
        gpu=gpu,
    )
    stages = recipe.stages()
    if options.dry_run:
        print("\n".join(str(stage) for stage in stages))
        return 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    schedule = Schedule(stages, options.out, options.cores, environment)
    succeeded = schedule.run()
    print(table(schedule.outcomes))
    return 0 if succeeded else 1


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train", main))
