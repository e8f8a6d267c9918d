"""Where a request comes from, as its browser says: `Origin` names the site of the page that sends it."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers


def is_cross_origin(headers: Headers) -> bool:
    """Whether `Origin` names another host or port than `Host`, or none; False without `Origin`.

    The scheme is left out: behind a proxy that ends TLS, a server does not know its own.
    """
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        sender = urlsplit(origin).netloc.lower()
    except ValueError:
        return True
    return not sender or sender != headers.get("host", "").lower()
