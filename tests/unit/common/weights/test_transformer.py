import subprocess
import sys

PROGRAM = """
import sys
import receiver.composition, sender.composition
print({"torch._dynamo", "triton", "sympy", "torchvision"} & set(sys.modules))
"""


def test_daemons_do_not_import_what_takes_seconds_and_they_do_not_need() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert ended.stdout == "set()\n", ended.stderr
