"""One decoder under Atheris, guided by coverage: `python -m tests.bench.abuse.coverage TARGET CORPUS [FLAGS]`.

FLAGS are libFuzzer's, such as `-max_total_time=60`; it ends the process, with another exit code than 0 at a fault, and
writes what it found to CORPUS.
"""

import contextlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["common.codec", "common.recording", "common.texture", "common.wire"]):
    from tests.bench.abuse.bulk import REFUSALS, targets


def main() -> None:
    name, corpus = sys.argv[1], Path(sys.argv[2])
    target = targets()[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def test_one_input(data: bytes) -> None:
        with contextlib.suppress(*REFUSALS):
            target.decode(data)

    flags = ["-max_len=4096", "-timeout=5", "-rss_limit_mb=4096", f"-artifact_prefix={corpus}/fault-"]
    atheris.Setup([sys.argv[0], str(corpus), *flags, *sys.argv[3:]], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
