"""The built page's files, read once at start: nothing else on disk can be asked for."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from common.errors import OutputError

BUILT = Path(__file__).with_name("static")
"""Where the build puts the page (`setup.py`)."""

_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
# A browser asks each time, and is answered "not modified" without the content.
_REVALIDATED = "no-cache"
# Names with a hash of the content never change their content.
_IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page."""

    content: bytes
    media_type: str
    etag: str
    cache_control: str


def read_page(folder: Path = BUILT) -> dict[str, PageFile]:
    """All files of the built page by their path relative to the folder.

    Raises:
        OutputError: the page was not built.
    """
    if not (folder / "index.html").is_file():
        raise OutputError(
            f"the web page is not built ({folder} has no index.html): install Bodywire again, or --no-page"
        )
    files: dict[str, PageFile] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            files[name] = _page_file(name, path.read_bytes())
    return files


def _page_file(name: str, content: bytes) -> PageFile:
    digest = hashlib.sha256(content).hexdigest()[:20]
    suffix = Path(name).suffix
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    # esbuild appends a hash to the names of bundles: app-7K2QXJ5A.js.
    hashed = "-" in Path(name).stem and suffix in (".js", ".css")
    return PageFile(content, media_type, f'"{digest}"', _IMMUTABLE if hashed else _REVALIDATED)


def page_routes(files: dict[str, PageFile]) -> APIRouter:
    """Routes of the page: `/`, `/docs` and `/static/…`."""
    router = APIRouter(include_in_schema=False)

    def answer(request: Request, name: str) -> Response:
        file = files.get(name)
        if file is None:
            raise HTTPException(404, "there is no such file")
        headers = {"etag": file.etag, "cache-control": file.cache_control}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    @router.get("/")
    async def page(request: Request) -> Response:
        return answer(request, "index.html")

    @router.get("/docs")
    async def documentation(request: Request) -> Response:
        return answer(request, "docs/index.html")

    @router.get("/static/{name:path}")
    async def static(request: Request, name: str) -> Response:
        return answer(request, name)

    return router
