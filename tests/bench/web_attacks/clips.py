"""Clips that are damaged, lie about what they are, or never arrive; cancelled; many at a time; honest ones beside."""

import json
import random
import re
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tests.bench.web_attacks.target import Answer, Findings, Target, Unanswered, Visitor, exchange, request_bytes, send
from tests.support.published_session import write_clip

_LIMIT_BYTES = 200_000_000
_AT_ONCE = 12
# A clip waits for those before it; what is answered later than this holds honest visitors up.
_PATIENCE_S, _PAUSE_S = 240.0, 0.5
_FORM = {"Content-Type": "multipart/form-data; boundary=b", "Accept": "application/x-ndjson"}
_LINE = re.compile(rb"^\{.*\}$", re.MULTILINE)
# Lines of progress have no headers: whoever sees 503 there knows to try again.
_RETRY = b"\r\nRetry-After: 1"
_NUMBERS = (0, 1, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF)


def attack(target: Target, seed: int, count: int) -> Findings:
    """Sends about `count` requests with clips, and about the sessions that became of them."""
    rng, findings = random.Random(seed), Findings()
    while findings.sent < count:
        try:
            rng.choice(ATTEMPTS)(rng, target, findings)
        except Unanswered as error:
            findings.faults.append(f"unanswered {error}")
    return findings


@cache
def clip(ending: str = ".mp4") -> bytes:
    """A clip of six frames that can be played."""
    with tempfile.TemporaryDirectory() as folder:
        return write_clip(Path(folder) / f"clip{ending}").read_bytes()


def upload(target: Target, visitor: Visitor, content: bytes, name: str = "clip.mp4") -> Answer:
    """Uploads a clip, and waits for its end; the status is that of the last line."""
    answer = exchange(target, _form(visitor, content, name), _PATIENCE_S)
    lines = _LINE.findall(answer.body) if answer.status == 200 else []
    return Answer(json.loads(lines[-1]).get("status", 201), _RETRY, lines[-1]) if lines else answer


def session_of(answer: Answer) -> int | None:
    """The number of the session that an upload has become."""
    found = re.findall(rb'"number":(\d+)', answer.body)
    return int(found[-1]) if answer.status == 201 and found else None


def _form(visitor: Visitor, content: bytes, name: str) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="clip"; filename="{name}"\r\n\r\n'.encode()
    headers = {**visitor.program, **_FORM}
    return request_bytes("POST", "/api/sessions", headers, head + content + b"\r\n--b--\r\n", "127.0.0.1")


def _forged(rng: random.Random, target: Target, findings: Findings) -> None:
    """A file that is nearly a clip, or none."""
    content = rng.choice(FORGERIES)(rng)
    name = rng.choice(
        ("a.mp4", "a.mov", "a.mkv", "a", "\u202e4pm.mp4", "-i.mp4", "concat:a|b.mp4", "%d.mp4", "x" * 300)
    )
    answer = upload(target, rng.choice(target.attackers), content, name)
    findings.check(target, f"clip {name!r} {content[:60]!r}", answer)


def _path_name(rng: random.Random, target: Target, findings: Findings) -> None:
    name = rng.choice(("../../a.mp4", "/etc/passwd", "..\\a.mp4", "a/../../b.mp4", "\0.mp4"))
    answer = upload(target, rng.choice(target.attackers), clip(), name)
    findings.check(target, f"clip {name!r}", answer, allowed=False)


def _too_large(rng: random.Random, target: Target, findings: Findings) -> None:
    """A body that says how far it is above the limit, or one in chunks that are larger than the header allows."""
    visitor = rng.choice(target.attackers)
    head = {**visitor.program, **_FORM}
    if rng.random() < 0.9:
        said = str(rng.choice((_LIMIT_BYTES + 20_000, 10**12, 10**15, 2**63)))
        request = request_bytes("POST", "/api/sessions", {**head, "Content-Length": said}, b"--b\r\n", "127.0.0.1")
    else:
        part = b'--b\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\n'
        block = bytes(2_000_000)
        pieces = (part, *[block] * (_LIMIT_BYTES // len(block) + 1))
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        request = request_bytes("POST", "/api/sessions", {**head, "Transfer-Encoding": "chunked"}, body, "127.0.0.1")
    findings.check(target, "clip above the limit", exchange(target, request), allowed=False)


def _held(rng: random.Random, target: Target, findings: Findings) -> None:
    """Bodies of all attackers that do not arrive, and an honest clip beside them."""
    with ExitStack() as opened:
        for attacker in 4 * target.attackers:
            _begin(target, _form(attacker, clip(), "a.mp4")[: -rng.randint(20, 500)], opened)
            findings.sent += 1
        _honest(rng, target, findings)


def _cancelled(rng: random.Random, target: Target, findings: Findings) -> None:
    """A connection that ends while its clip waits or is played, or a little before."""
    with ExitStack() as opened:
        connection = _begin(target, _form(rng.choice(target.attackers), clip(), "cancelled.mp4"), opened)
        findings.sent += 1
        if connection is not None and rng.random() < 0.7:
            connection.settimeout(_PATIENCE_S)
            stage = rng.choice((b"200 OK", b'"queue"', b'"clip"'))
            received = b""
            while stage not in received and (more := _received(connection)):
                received += more


def _many(rng: random.Random, target: Target, findings: Findings) -> None:
    """More clips of one account than it may have in work."""
    visitor = rng.choice(target.attackers)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for answer in threads.map(lambda _: upload(target, visitor, clip()), range(_AT_ONCE)):
            findings.check(target, "many clips", answer)


def _kept(rng: random.Random, target: Target, findings: Findings) -> None:
    """What one may do with a session of one's own, all at once and in any order; at last all of them are deleted."""
    visitor = rng.choice(target.attackers)
    number = session_of(upload(target, visitor, clip(rng.choice((".mp4", ".mkv")))))
    listed = send(target, "GET", "/api/sessions", visitor.browser)
    findings.check(target, "own sessions", listed)
    if number is not None:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            work = rng.choices(_USES, k=_AT_ONCE)
            answers = threads.map(lambda use: _used(target, visitor, number, use), work)
            for use, answer in zip(work, answers, strict=True):
                findings.check(target, f"own session: {use}", answer)
    for path in {f"/api/sessions/{found}" for found in re.findall(rb'"number":(\d+)', listed.body)}:
        findings.check(target, "delete own", send(target, "DELETE", path, visitor.browser))


_USES: Sequence[tuple[str, str, object]] = (
    ("GET", "", b""),
    ("GET", "/frames", b""),
    ("GET", "/frames?after=-1&limit=200", b""),
    ("GET", "/thumbnail", b""),
    ("GET", "/download/zip", b""),
    ("GET", "/download/glb", b""),
    ("GET", "/download/exe", b""),
    ("GET", "/meshes/000000.glb", b""),
    ("PATCH", "", {"name": "a" * 101}),
    ("PATCH", "", {"name": "\u202e\x1b[31m"}),
    ("PATCH", "", {"name": "mine"}),
    ("POST", "/shares", {"days": 1e308}),
    ("POST", "/shares", {"days": 1}),
    ("DELETE", "/shares/0123456789abcdef", b""),
    ("DELETE", "", b""),
)


def _used(target: Target, visitor: Visitor, number: int, use: tuple[str, str, object]) -> Answer:
    method, path, body = use
    return send(target, method, f"/api/sessions/{number}{path}", visitor.browser, body, _PATIENCE_S)


def _honest(_: random.Random, target: Target, findings: Findings) -> None:
    """An honest clip is recorded, perhaps after some waits, and deleted again."""
    until_s = time.monotonic() + _PATIENCE_S
    answer = upload(target, target.honest, clip())
    findings.check(target, "honest clip", answer)
    while answer.status in (429, 503) and time.monotonic() < until_s:
        time.sleep(_PAUSE_S)
        answer = upload(target, target.honest, clip())
    number = session_of(answer)
    if number is None:
        findings.faults.append(f"an honest clip is refused: {answer.status} {answer.body[-300:]!r}")
        return
    deleted = send(target, "DELETE", f"/api/sessions/{number}", target.honest.browser, timeout_s=_PATIENCE_S)
    findings.check(target, "delete honest clip", deleted)
    if deleted.status != 204:
        findings.faults.append(f"an honest visitor cannot delete a session: {deleted.status} {deleted.body[:200]!r}")


def _begin(target: Target, request: bytes, opened: ExitStack) -> socket.socket | None:
    """Sends a part of a request on a connection that stays open."""
    try:
        connection = opened.enter_context(socket.create_connection(target.address, _PATIENCE_S))
        connection.sendall(request)
    except OSError:
        return None  # refused, as it may be
    return connection


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except OSError:
        return b""


def _truncated(rng: random.Random) -> bytes:
    content = clip(rng.choice((".mp4", ".mkv")))
    return content[: rng.randrange(len(content))]


def _damaged(rng: random.Random) -> bytes:
    content = bytearray(clip(rng.choice((".mp4", ".mkv"))))
    for _ in range(rng.randint(1, 30)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _without_middle(rng: random.Random) -> bytes:
    content = clip(rng.choice((".mp4", ".mkv")))
    start, end = sorted(rng.sample(range(16, len(content)), 2))
    return content[:start] + content[end:]


def _lying(rng: random.Random) -> bytes:
    """An MP4 one of whose boxes says something else: sizes of boxes and pictures, times, counts, offsets."""
    content = bytearray(clip())
    box = rng.choice(
        (b"moov", b"mvhd", b"tkhd", b"mdhd", b"stsd", b"mp4v", b"stts", b"stsz", b"stco", b"mdat", b"trak")
    )
    at = content.index(box)
    where = at - 4 if rng.random() < 0.3 else rng.randrange(at + 4, min(at + 100, len(content) - 4))
    struct.pack_into(">I", content, where, rng.choice(_NUMBERS))
    return bytes(content)


def _other(rng: random.Random) -> bytes:
    """Playlists and scripts that name other files, other containers, and nothing at all."""
    named = b"file:///etc/passwd\n"
    return rng.choice(
        (
            b"",
            b"#EXTM3U\n#EXTINF:1,\n" + named,
            b"ffconcat version 1.0\nfile " + named,
            b"\0\0\0\x18ftypisom" + bytes(200),
            b"\0\0\0\x18ftypqt  " + b"\0\0\0\x40moov\0\0\0\x38rmra\0\0\0\x30rmda\0\0\0\x28rdrf\0\0\0\0url " + named,
            b"\x1a\x45\xdf\xa3" + rng.randbytes(500),
            b"RIFF\x24\0\0\0AVI LIST" + bytes(60),
            b"\x47" + bytes(187),
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            rng.randbytes(2000),
        )
    )


FORGERIES: Sequence[Callable[[random.Random], bytes]] = (_truncated, _damaged, _without_middle, *[_lying] * 3, _other)
ATTEMPTS: Sequence[Callable[[random.Random, Target, Findings], None]] = (
    *(*[_forged] * 12, _path_name, _too_large, _held, *[_cancelled] * 3, _many, _kept, _honest),
)
