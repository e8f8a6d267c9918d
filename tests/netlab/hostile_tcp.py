"""TCP clients that say nothing, or only half of something, and come back when they are ended:

    python -m tests.netlab.hostile_tcp HOST:PORT 1090 127.0.0.2
    python -m tests.netlab.hostile_tcp HOST:PORT 299 127.0.0.3 'GET / HTTP/1.1'

Arguments: where, how many, from which address, and what each says.
"""

import asyncio
import sys
from contextlib import suppress

from common.io.addresses import Address

# From its end until a client comes back.
_AGAIN_S = 1.0


async def hold(at: Address, count: int, source: str, words: bytes = b"") -> None:
    """Keeps so many connections open from an address, until cancelled."""
    await asyncio.gather(*(_held(at, source, words, number / count) for number in range(count)))


async def _held(at: Address, source: str, words: bytes, after_s: float) -> None:
    await asyncio.sleep(after_s)
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(at.host, at.port, local_addr=(source, 0))
            writer.write(words)
            await reader.read()
            writer.close()
        await asyncio.sleep(_AGAIN_S)


def main(at: str, count: str, source: str, words: str = "") -> None:
    """Holds connections until the process is ended."""
    asyncio.run(hold(Address.parse(at), int(count), source, words.encode().decode("unicode_escape").encode()))


if __name__ == "__main__":
    main(*sys.argv[1:])
