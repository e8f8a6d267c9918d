"""Does work after work for `receiver.web.children.workshop`, with the processor time that others leave.

stdin   (function, arguments), pickled
stdout  messages: kind, length, content; the parts that the function yields, and how it has ended
"""

import os
import pickle
import struct
import sys
import traceback
from typing import BinaryIO

from common.errors import BodywireError
from common.io.startup import prepare_process

HEAD = struct.Struct("!cQ")
PART, END, REFUSED, INVALID, FAILED = b"+", b".", b"u", b"v", b"!"
"""Kinds of messages: a part, the end, and the text of a `BodywireError`, of a `ValueError` or of another error."""
_NICE = 10


def main() -> None:
    """Works until stdin ends."""
    os.nice(_NICE)
    # Whatever prints must not write between the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    prepare_process()
    while True:
        try:
            work, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            for part in work(*arguments):
                _say(answers, PART, part)
            _say(answers, END)
        except BrokenPipeError:
            return
        except BodywireError as error:
            _say(answers, REFUSED, str(error).encode())
        except ValueError as error:
            _say(answers, INVALID, str(error).encode())
        except Exception:
            _say(answers, FAILED, traceback.format_exc().strip().rpartition("\n")[2].encode())


def _say(answers: BinaryIO, kind: bytes, content: bytes = b"") -> None:
    answers.write(HEAD.pack(kind, len(content)) + content)
    answers.flush()


if __name__ == "__main__":
    main()
