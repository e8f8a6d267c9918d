"""One process of attacks: `python -m tests.bench.abuse.attacker --target FILE --families F... --seconds N`.

Runs attacks of some families in random order, several at a time, and writes each to the journal.
`--repeat FAMILY.ATTACK:SEED` runs one of the journal again and prints its result.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import WireError
from tests.bench.abuse import attacks, connections, doors
from tests.bench.abuse.outcome import Attack, Journal, Outcome, Result, result_of
from tests.netlab.hostile_client import StreamEnded, Target

FAMILIES: Mapping[str, Mapping[str, Attack]] = {
    "protocol": attacks.PROTOCOL,
    "theft": attacks.THEFT,
    "packets": attacks.PACKETS,
    "connections": connections.CONNECTIONS,
    "load": connections.LOAD,
    "doors": doors.DOORS,
}
_ANSWERS = 4
"""An attack may take as long as this many answers may take."""


async def attempt(family: str, attack: str, seed: str, target: Target) -> Result:
    """Runs one attack, with the token of the family's own account."""
    target = replace(target, attacker=family)
    try:
        async with asyncio.timeout(_ANSWERS * target.answer_timeout_s):
            return await FAMILIES[family][attack](target, random.Random(f"{family} {attack} {seed}"))
    except StreamEnded as ended:
        return result_of(ended)
    except TimeoutError:
        return Result(Outcome.HANG, "no answer")
    except OSError as error:
        return Result(Outcome.ABSENT, str(error))
    except WireError as error:
        return Result(Outcome.WRONG, f"the receiver's answer is malformed: {error}")


def choices(families: Sequence[str], seed: str) -> Iterator[tuple[str, str]]:
    """Family and name of each attack: every one in random order before the first comes again."""
    rng = random.Random(seed)
    named = [(family, attack) for family in families for attack in FAMILIES[family]]
    while True:
        rng.shuffle(named)
        yield from named


async def run(target: Target, options: argparse.Namespace) -> None:
    """Attacks with several tasks; attacks under way at the end are broken off."""
    journal, until_s = Journal(options.journal), time.monotonic() + options.seconds
    numbered = enumerate(choices(options.families, options.seed), start=1)

    async def work() -> None:
        while time.monotonic() < until_s:
            number, (family, attack) = next(numbered)
            seed, started_s = f"{options.seed}/{number}", time.monotonic()
            result = await attempt(family, attack, seed, target)
            journal.write(family, attack, seed, result, time.monotonic() - started_s)
            if result.outcome is Outcome.ABSENT:
                await asyncio.sleep(0.2)

    workers = [asyncio.create_task(work()) for _ in range(options.at_once)]
    await asyncio.wait(workers, timeout=options.seconds + 1.0)
    for worker in workers:
        worker.cancel()
    for ended in await asyncio.gather(*workers, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.bench.abuse.attacker")
    parser.add_argument("--target", type=Path, required=True, help="file with the target, written by the campaign")
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--repeat", metavar="FAMILY.ATTACK:SEED")
    options = parser.parse_args()
    target = Target.read(options.target)
    if not options.repeat:
        asyncio.run(run(target, options))
        return
    name, _, seed = options.repeat.partition(":")
    family, _, attack = name.partition(".")
    result = asyncio.run(attempt(family, attack, seed, target))
    print(f"{options.repeat}: {result.outcome.value} {result.detail}")


if __name__ == "__main__":
    main()
