"""Speed of the web page: `python -m tests.bench.web`.

A receiver with its page, and its own browser: real Chromium without a GPU.

    cold_upload_s    the first upload, as soon as the receiver has started
    opened_upload_s  the first upload, a second after somebody has opened the page of another receiver
    upload_…_s       from the beginning of an upload to its OBJ on the client's side, one picture after the other
    people_N_…_s     of these, those of pictures in which so many people were found
    people_N_share   their share
    four_at_once_…_s the same with four clients at once
    first_mesh_s     from opening the page, with an empty cache, to the first mesh that is drawn, while a sender runs
    page_bytes       what the browser has loaded until then, as it travels

The pictures are photographs of 640 pixels with one to four annotated people, as many of each as there are.
Needs Debian's `chromium`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import httpx
from playwright.sync_api import Browser, WebSocket, sync_playwright

from common.errors import OutputError
from sender.train.photographs.dataset import read_json
from tests.bench import report
from tests.bench.measures import percentile
from tests.bench.time.daemons import started_receiver
from tests.support.web.chromium import CHROMIUM, FLAGS

UPLOADS, QUICK_UPLOADS = 100, 8
AT_ONCE = 4
_PEOPLE, _SIDE_PX, _LABELLED = range(1, 5), 640, 8
_NOBODY = 422
_LOOKS_S = 1.0
_OPENINGS = 3
_TIMEOUT_S = 120.0
_PASSWORD = "a long password of the bench"


@contextmanager
def served() -> Iterator[tuple[str, str]]:
    """A receiver; yields the address for senders and the page's URL. Raises OutputError if it does not start."""
    with tempfile.TemporaryDirectory() as folder:
        daemon, peer, page = started_receiver(Path(folder) / "out", Path(folder) / "receiver.log")
        try:
            yield peer, page
        finally:
            daemon.end()


@contextmanager
def playing(peer: str) -> Iterator[None]:
    """A sender that plays the demo clip in real time, again and again."""
    ended = threading.Event()

    def play() -> None:
        command = [sys.executable, "-m", "sender", "--camera", "demo", "--realtime", "--peer", peer]
        while not ended.is_set():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not ended.wait(0.1):
                pass
            process.terminate()
            process.wait()

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def account(page: str) -> dict[str, str]:
    """Signs up, makes a token, and returns the headers that use it."""
    with httpx.Client(base_url=page, timeout=_TIMEOUT_S) as client:
        client.post("/api/accounts", json={"name": "bench", "password": _PASSWORD}).raise_for_status()
        made = client.post("/api/tokens", json={"label": "bench"}).raise_for_status()
    return {"Authorization": f"Bearer {made.json()['token']}"}


def photographs(folder: Path, count: int) -> list[bytes]:
    """Pictures with one, two, three and four people in turn; each of these has at least eight labelled keypoints."""
    described = read_json(folder / "keypoints.json")
    people: dict[int, list[bool]] = {}
    for each in described["annotations"]:
        people.setdefault(each["image_id"], []).append(each["num_keypoints"] >= _LABELLED)
    by_number: dict[int, list[str]] = {number: [] for number in _PEOPLE}
    for image in described["images"]:
        shown = people.get(image["id"], [])
        if max(image["width"], image["height"]) == _SIDE_PX and len(shown) in by_number and all(shown):
            by_number[len(shown)].append(image["file_name"])
    in_turn = [name for names in zip_longest(*by_number.values()) for name in names if name]
    return [(folder / "images" / name).read_bytes() for name in in_turn[:count]]


def upload(page: str, headers: dict[str, str], picture: bytes) -> tuple[int, float]:
    """Uploads a picture and downloads the first person's OBJ; returns how many people there are, and the seconds.

    Raises:
        OutputError: the receiver refuses the picture.
    """
    with httpx.Client(base_url=page, timeout=_TIMEOUT_S, headers=headers) as client:
        while True:
            began_s = time.perf_counter()
            answer = client.post("/upload", files={"image": ("frame.jpg", picture, "image/jpeg")})
            if answer.status_code != 429:
                break
            # An account may upload sixty a minute: the wait is no time of the next one.
            time.sleep(float(answer.headers["retry-after"]))
        if answer.status_code == _NOBODY:
            return 0, time.perf_counter() - began_s
        if answer.status_code != 201:
            raise OutputError(f"the upload was refused: {answer.status_code} {answer.text}")
        people = answer.json()["people"]
        client.get(people[0]["obj"]).raise_for_status()
    return len(people), time.perf_counter() - began_s


def upload_figures(page: str, pictures: Sequence[bytes]) -> dict[str, float]:
    """Times of uploads: the first, then one after the other and, of a fifth of the pictures, four at once."""
    headers = account(page)
    _, cold_s = upload(page, headers, pictures[0])
    single = [upload(page, headers, picture) for picture in pictures]
    with ThreadPoolExecutor(AT_ONCE) as clients:
        several = pictures[: max(len(pictures) // 5, QUICK_UPLOADS)]
        together = [taken_s for _, taken_s in clients.map(lambda picture: upload(page, headers, picture), several)]
    figures = {"cold_upload_s": cold_s} | _spread("upload", [taken_s for _, taken_s in single])
    for number in sorted({number for number, _ in single}):
        own = [taken_s for people, taken_s in single if people == number]
        figures |= _spread(f"people_{number}", own) | {f"people_{number}_share": len(own) / len(single)}
    return figures | _spread("four_at_once", together)


def _spread(name: str, taken_s: Sequence[float]) -> dict[str, float]:
    return {f"{name}_p{share}_s": percentile(taken_s, share) for share in (5, 50, 95, 100)}


def opened_upload_s(page: str, picture: bytes) -> float:
    """Seconds of the first upload, soon after its visitor has opened the page."""
    headers = account(page)
    with httpx.Client(base_url=page, timeout=_TIMEOUT_S, headers=headers) as client:
        client.get("/").raise_for_status()
        client.get("/api/models").raise_for_status()
    time.sleep(_LOOKS_S)
    return upload(page, headers, picture)[1]


class Opening:
    """One visit of the page by a new browser profile, until it is closed."""

    def __init__(self, browser: Browser, page: str) -> None:
        self._context = browser.new_context(viewport={"width": 1280, "height": 800})
        self._page = self._context.new_page()
        self.shown_s: list[float] = []
        self.loaded_bytes = 0
        self._page.on("websocket", self._on_websocket)
        self._page.on("requestfinished", lambda request: self._count(request.sizes()))
        self._began_s = time.perf_counter()
        self._page.goto(page)

    def wait_for(self, done: Callable[["Opening"], bool], timeout_s: float) -> None:
        """Waits, up to the time-out, while the page runs."""
        until_s = time.perf_counter() + timeout_s
        while not done(self) and time.perf_counter() < until_s:
            self._page.wait_for_timeout(20)

    def close(self) -> None:
        self._context.close()

    def _on_websocket(self, socket: WebSocket) -> None:
        socket.on("framesent", self._on_message)

    def _on_message(self, payload: str | bytes) -> None:
        if json.loads(payload).get("type") == "shown":
            self.shown_s.append(time.perf_counter() - self._began_s)

    def _count(self, sizes: object) -> None:
        assert isinstance(sizes, dict)
        self.loaded_bytes += sizes["responseBodySize"] + sizes["responseHeadersSize"]


def page_figures(page: str) -> dict[str, float]:
    """Time to the first mesh, and weight of the page.

    Raises:
        OutputError: no mesh is drawn.
    """
    first_s, loaded = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        for _ in range(_OPENINGS):
            opening = Opening(browser, page)
            opening.wait_for(lambda visit: bool(visit.shown_s), _TIMEOUT_S)
            if not opening.shown_s:
                raise OutputError("the page has drawn no mesh")
            first_s.append(opening.shown_s[0])
            loaded.append(opening.loaded_bytes)
            opening.close()
        browser.close()
    return {
        "first_mesh_s": statistics.median(first_s),
        "page_bytes": float(max(loaded)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("web", __doc__, 0)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with images and keypoints.json")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    pictures = photographs(options.photographs, QUICK_UPLOADS if options.quick else UPLOADS)
    with served() as (peer, page):
        report.progress("uploads")
        found = upload_figures(page, pictures)
        report.progress("the live page")
        with playing(peer):
            found |= page_figures(page)
    with served() as (_, page):
        found["opened_upload_s"] = opened_upload_s(page, pictures[0])
    report.publish(options, {"bodywire": found}, "the page")


if __name__ == "__main__":
    sys.exit(main())
