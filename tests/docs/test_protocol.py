import json
import re
import socket
import threading
from pathlib import Path

import pytest

from common import blobs
from common.codec.packet import CODEC_VERSION
from common.labels import GROUPS
from common.wire import convert, pictures
from sender.capture.picture_socket import MAX_CONNECTIONS
from sender.preview import video

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_versions() -> None:
    assert f"Protocol version {convert.PROTOCOL_VERSION}, codec version {CODEC_VERSION}." in PAGE


def test_limits() -> None:
    assert (convert.MAX_MESSAGE_BYTES, convert.MAX_PARSED_BYTES) == (4 << 20, 128 << 10)
    assert (convert.MAX_PAYLOAD_BYTES, convert.MAX_CHUNK_BYTES, convert.MAX_BLOB_BYTES) == (64 << 10, 16 << 10, 1 << 20)
    for limit in (
        "4 MiB ends the stream",
        "128 KiB is not parsed",
        "a frame has up to 64 KiB",
        "a chunk 16 KiB, a blob 1 MiB",
    ):
        assert limit in " ".join(PAGE.split())


def test_label_groups() -> None:
    section = PAGE.partition("## Label groups")[2].partition("\n## ")[0]
    for heading, fast in (("every frame", True), ("on change", False)):
        listed = section.partition(f"- {heading}: ")[2].partition("\n- ")[0]
        found = re.findall(r"`(\w+)` (\d+)", listed)
        assert sorted(found) == sorted((group.name, str(group.size)) for group in GROUPS if group.fast == fast)


def test_acknowledgement_statuses() -> None:
    for status in convert.AckStatus:
        assert f"`{status.name}`" in PAGE


def test_limits_of_pictures_and_previews() -> None:
    assert f"size of the header, 2 to {pictures.MAX_HEADER_BYTES:,} bytes" in PAGE
    assert f"size of the image, 1 to {pictures.MAX_IMAGE_BYTES:,} bytes" in PAGE
    assert f"printable, 1 to {pictures.MAX_NAME_BYTES} bytes" in PAGE
    assert MAX_CONNECTIONS == 8 and "Up to eight connections" in PAGE
    assert f"at most {blobs.MAX_PREVIEW_PX} pixels and {video.MAX_JPEG_BYTES:,} bytes" in PAGE
    assert f"at most {video.BYTES_PER_S / 1e3:g} kB/s" in PAGE
    assert f"more than {blobs.MAX_PREVIEW_BYTES:,} bytes" in PAGE


def test_program_that_sends_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of the page speaks the protocol."""
    example = PAGE.partition("A program that sends a picture:\n\n")[2].partition("\n## ")[0]
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(b"a picture")
    received: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("pictures.sock")
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                prefix = connection.recv(pictures.MESSAGE_PREFIX.size, socket.MSG_WAITALL)
                header_bytes, image_bytes = pictures.MESSAGE_PREFIX.unpack(prefix)
                received.extend(connection.recv(size, socket.MSG_WAITALL) for size in (header_bytes, image_bytes))
                connection.sendall(pictures.encode_answer(pictures.PictureAccepted("photo.jpg", 3, 2)))

        serving = threading.Thread(target=answer)
        serving.start()
        exec("\n".join(line.removeprefix("    ") for line in example.splitlines()), {})
        serving.join(timeout=20)
    assert pictures.decode_header(received[0]) == pictures.PictureHeader("photo.jpg")
    assert received[1] == b"a picture"
    shown = json.loads(capsys.readouterr().out.replace("'", '"').replace("True", "true"))
    assert shown == {"accepted": True, "source": "photo.jpg", "width": 3, "height": 2}
