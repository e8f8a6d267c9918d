import textwrap
from pathlib import Path

from common.io.command_line import options_of, read_config
from receiver.config import ReceiverConfig
from sender.__main__ import PROGRAM
from sender.config import SenderConfig
from tests.docs.configuration_reference import PAGE, configuration_page


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == configuration_page(), "docs/configuration.md is stale: run make docs"


def test_example_file_is_valid(tmp_path: Path) -> None:
    page = configuration_page()
    example = textwrap.dedent(page[page.index("    # sender.toml\n") : page.index("Below, tables")])
    (tmp_path / "sender.toml").write_text(example)
    config = read_config(SenderConfig, PROGRAM, ["--config", str(tmp_path / "sender.toml")], {})
    assert config.tracking.max_people == 2
    assert not config.appearance.colours


def test_page_lists_every_option_once() -> None:
    sender, receiver = configuration_page().split("\n## receiver\n")
    for page, config in ((sender, SenderConfig), (receiver, ReceiverConfig)):
        for entry in options_of(config):
            rows = [
                line for line in page.splitlines() if line.startswith((f"| `{entry.flag}` ", f"| `{entry.flag}`, "))
            ]
            assert len(rows) == 1, entry.flag
            assert entry.help
