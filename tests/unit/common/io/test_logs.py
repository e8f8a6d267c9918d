import logging
import warnings
from collections.abc import Iterator

import pytest

from common.io.logs import LogConfig


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def test_start_shows_level_and_above_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    LogConfig("warning").start("sender")
    logger = logging.getLogger("sender.capture.live")
    logger.info("quiet")
    logger.warning("camera 0 is lost")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(" sender WARNING sender.capture.live: camera 0 is lost\n")
    assert captured.err.count("\n") == 1


def test_second_start_replaces_the_handler(capsys: pytest.CaptureFixture[str]) -> None:
    LogConfig().start("sender")
    LogConfig().start("sender")
    logging.getLogger("x").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_start_logs_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    LogConfig().start("receiver")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old call", stacklevel=1)
    assert "receiver WARNING py.warnings" in capsys.readouterr().err


def test_record_with_text_of_the_peer_is_one_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    LogConfig().start("receiver")
    logging.getLogger("x").warning("refused %s", "\x1b[2J\nreceiver INFO x: accepted \u202e")
    line = capsys.readouterr().err
    assert line.endswith(r"refused \x1b[2J\nreceiver INFO x: accepted \u202e" + "\n")
    assert line.count("\n") == 1
