"""One target under Atheris: `python -m tests.bench.fuzz.process TARGET CORPUS [LIBFUZZER FLAGS]`.

libFuzzer ends the process, so each target has its own.
"""

import contextlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["common.codec", "common.recording", "common.texture"]):
    from tests.bench.fuzz.targets import targets


def main() -> None:
    name, corpus = sys.argv[1], Path(sys.argv[2])
    target = targets()[name]
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def test_one_input(data: bytes) -> None:
        with contextlib.suppress(*target.refusals):
            target.decode(data)

    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[3:]], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
