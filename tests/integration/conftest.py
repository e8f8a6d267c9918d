from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest

from tests.support.link.certificate_authority import Authority
from tests.support.link.link_fixture import LinkFixture

# Not ended before the process: a server that a failed test has left running would keep the garbage collector waiting
# for ever in some later test.
grpc.aio.init_grpc_aio()


@pytest.fixture
async def link() -> AsyncIterator[LinkFixture]:
    async with AsyncExitStack() as stack:
        yield LinkFixture(stack)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority.make(tmp_path_factory.mktemp("ours") / "certs")
    authority.issue("receiver", "127.0.0.1")
    authority.issue("elsewhere", "studio.example")
    authority.issue("camera")
    authority.issue("stale", "127.0.0.1", days=0)
    return authority


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority.make(tmp_path_factory.mktemp("others") / "certs")
    authority.issue("camera")
    return authority
