import pytest
from starlette.datastructures import Headers

from receiver.web.guards import is_cross_origin


def headers(origin: str | None, host: str = "studio.example:8080") -> Headers:
    return Headers({"host": host} | ({} if origin is None else {"origin": origin}))


@pytest.mark.parametrize("origin", [None, "http://studio.example:8080", "https://STUDIO.example:8080"])
def test_page_of_the_server_and_programs_are_not_cross_origin(origin: str | None) -> None:
    assert not is_cross_origin(headers(origin))


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://studio.example", "http://studio.example:8081", "null", "", "studio.example:8080"],
)
def test_other_hosts_ports_and_opaque_origins_are_cross_origin(origin: str) -> None:
    assert is_cross_origin(headers(origin))


def test_garbage_is_cross_origin_and_no_error() -> None:
    for origin in ("http://[", "http://[::1", "http://[1.2.3.4]", "\0", "//"):
        assert is_cross_origin(headers(origin, host="[")), origin
    assert is_cross_origin(Headers({"origin": "null"})), "an origin without host matches no missing host"
