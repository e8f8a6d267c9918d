"""Uploads that are bombs, polyglots, damaged, too large, or named like paths."""

import contextlib
import random
import socket
import struct
import zlib
from collections.abc import Callable, Sequence

from tests.bench.web_attacks.target import (
    TIMEOUT_S,
    Answer,
    Findings,
    Target,
    Unanswered,
    Visitor,
    exchange,
    request_bytes,
)
from tests.support.fake_pictures import picture

_HUGE = 100_000_000
_MOVING = ("PNG", "WEBP", "GIF", "AVIF")
_FORMATS = ("JPEG", *_MOVING)


def attack(target: Target, seed: int, count: int) -> Findings:
    """Sends `count` uploads, one in 50 of them with a body of 100 MB, another beside bodies that are held back."""
    rng, findings = random.Random(seed), Findings()
    for number in range(count):
        attacker = rng.choice(target.attackers)
        name, content, allowed = rng.choice(KINDS)(rng)
        try:
            if number % 50 == 1:
                _held(target, findings)
            elif number % 50 == 0:
                findings.check(target, "100 MB", _huge(target, attacker.program, rng.random() < 0.5), allowed=False)
            else:
                answer = upload_picture(target, attacker, content, name)
                findings.check(target, f"upload {name!r} {content[:60]!r}", answer, allowed=allowed)
        except Unanswered as error:
            findings.faults.append(f"unanswered {error}")
    return findings


def upload_picture(target: Target, visitor: Visitor, content: bytes, name: str = "a.jpg") -> Answer:
    """Uploads a picture."""
    return exchange(target, _form(name, content, visitor.program))


def _form(name: str, content: bytes, headers: dict[str, str]) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    return request_bytes("POST", "/upload", {**headers, **kind}, head + content + b"\r\n--b--\r\n", "127.0.0.1")


def _held(target: Target, findings: Findings) -> None:
    """Bodies that do not arrive, of as many accounts as there are, and an honest upload beside them."""
    with contextlib.ExitStack() as opened:
        for attacker in 6 * target.attackers:
            connection = opened.enter_context(socket.create_connection(target.address, TIMEOUT_S))
            connection.sendall(_form("a.jpg", picture(), attacker.program)[:-20])
            findings.sent += 1
        answer = exchange(target, _form("a.jpg", picture(), target.honest.program))
    findings.check(target, "upload beside bodies that do not arrive", answer)
    if answer.status == 429:
        findings.faults.append(f"held bodies keep others from uploading: {answer.body[:200]!r}")


def _huge(target: Target, headers: dict[str, str], chunked: bool) -> Answer:
    """A body of 100 MB, announced or not; the server has to stop reading it."""
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    if chunked:
        block = bytes(1_000_000)
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (part, *[block] * 100)) + b"0\r\n\r\n"
        return exchange(
            target, request_bytes("POST", "/upload", {**headers, **kind, "Transfer-Encoding": "chunked"}, body, "a")
        )
    return exchange(target, request_bytes("POST", "/upload", {**headers, **kind}, part + bytes(_HUGE), "127.0.0.1"))


Kind = tuple[str, bytes, bool]


def _bomb(rng: random.Random) -> Kind:
    side = rng.choice((20_000, 65_535, 2**31 - 1))
    header = struct.pack(">IIBBBBB", side, side, rng.choice((1, 8, 16)), rng.choice((0, 2, 6)), 0, 0, 0)
    packed = zlib.compress(bytes(5_000_000), 9)
    return "bomb.png", b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, body) for kind, body in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    ), False  # fmt: skip


def _text_bomb(_: random.Random) -> Kind:
    content = picture(picture_format="PNG")
    at = content.index(b"IDAT") - 4
    bomb = _chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(50_000_000), 9))
    return "text.png", content[:at] + bomb + content[at:], True


def _scans(rng: random.Random) -> Kind:
    content = picture(2000, 2000, progressive=True)
    start = content.rindex(b"\xff\xda")
    return "scans.jpg", content[:-2] + content[start:-2] * rng.choice((200, 5000)) + b"\xff\xd9", False


def _polyglot(rng: random.Random) -> Kind:
    endings = (
        *(b"<script>alert(1)</script>", b"PK\x03\x04" + bytes(50) + b"PK\x05\x06" + bytes(18), b"%PDF-1.7"),
        *(b"<?php system('id'); ?>", b"#!/bin/sh\nid", b"\x7fELF\x02\x01\x01"),
    )
    kind = rng.choice(_FORMATS)
    return "two.jpg", picture(picture_format=kind) + rng.choice(endings), False


def _damaged(rng: random.Random) -> Kind:
    content = bytearray(picture(200, 100, rng.choice(_FORMATS)))
    for _ in range(rng.randint(1, 30)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return "damaged.jpg", bytes(content[: rng.randint(1, len(content))]), True


def _path_name(rng: random.Random) -> Kind:
    name = rng.choice(("../../a.jpg", "/etc/passwd", "..\\a.jpg", "a/../../b.jpg", "\0.jpg"))
    return name, picture(), False


def _other_format(rng: random.Random) -> Kind:
    kinds = (
        b"",
        b"GIF89a",
        b"\0\0\0\x18ftypheic",
        b"\0\0\0\x18ftypmp42",
        b"<svg onload=alert(1)>",
        b"BM" + bytes(60),
        rng.randbytes(500),
    )
    return "other.jpg", rng.choice(kinds), False


def _moving(rng: random.Random) -> Kind:
    """An animation whose later frames are bombs, or that says it is much larger than it is."""
    from PIL import Image

    more = [Image.new("RGB", (64, 48)) for _ in range(rng.choice((3, 300)))]
    content = bytearray(picture(picture_format=rng.choice(_MOVING), save_all=True, append_images=more))
    if content.find(b"ispe") > 0 and rng.random() < 0.5:
        struct.pack_into(">II", content, content.index(b"ispe") + 8, *rng.choice(((65_535, 65_535), (2**31, 2**31))))
        return "moving", bytes(content), False
    return "moving", bytes(content), True


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


KINDS: Sequence[Callable[[random.Random], Kind]] = (
    *(_bomb, _text_bomb, _scans, _polyglot, _damaged, _damaged, _path_name, _other_format, _moving),
)
