"""The parser of command lines."""

import argparse
from typing import NoReturn

from common.errors import UsageError


class CommandParser(argparse.ArgumentParser):
    """Raises UsageError for a wrong flag, which becomes one line like all other errors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.removeprefix('argument ')}; see {self.prog} --help")
