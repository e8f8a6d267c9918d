import json
import logging
import sys
from collections.abc import Iterator

import pytest

from common.clock import Clock
from common.io.config import LogConfig
from common.io.logs import SUBJECT, RepeatedLines, start_logging


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture
def on_a_dumb_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot move its cursor."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)


@pytest.mark.usefixtures("on_a_dumb_terminal")
def test_start_shows_level_and_above_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(LogConfig(), "receiver")
    start_logging(LogConfig("warning"), "sender")  # replaces the first one's handler
    logger = logging.getLogger("sender.capture.live")
    logger.info("quiet")
    logger.warning("camera 0 is lost")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(" sender WARNING sender.capture.live: camera 0 is lost\n")
    assert captured.err.count("\n") == 1


def test_records_of_a_task_begin_with_its_subject(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(LogConfig(), "sender")
    token = SUBJECT.set("rtsp://door/%20")
    logging.getLogger("x").warning("lost after %d s", 3)
    SUBJECT.reset(token)
    assert json.loads(capsys.readouterr().err)["message"] == "rtsp://door/%20: lost after 3 s"


def test_json_escapes_as_text_does(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(LogConfig(), "receiver")
    text = "\x1b[2J\n{} \u202e ρ"
    logging.getLogger("x").warning("refused %s", text)
    line = capsys.readouterr().err
    assert line[:-1].isprintable()
    record = json.loads(line)
    assert record["message"] == r"refused \x1b[2J\n{} \u202e ρ"
    try:
        raise ValueError("a\x1bb")
    except ValueError:
        logging.getLogger("x").exception("failed")
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and json.loads(line)["exception"].endswith(r"ValueError: a\x1bb")


def test_equal_lines_are_written_once_a_minute_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    lines = RepeatedLines(logging.getLogger("test"), Clock(lambda: now_s, lambda: 0.0))
    for _ in range(1000):
        lines.write(logging.WARNING, "a", "the disk is full")
    lines.write(logging.WARNING, "b", "something else")
    now_s = 61.0
    lines.write(logging.WARNING, "a", "the disk is full")
    assert [record.getMessage() for record in caplog.records] == [
        "the disk is full",
        "something else",
        "the disk is full (999 more since the last such line)",
    ]
