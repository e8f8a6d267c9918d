"""A TCP link with a rate that changes, by the relay of the deployment."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes.free_port import free_port

RELAY = Path(__file__).parents[3] / "deploy" / "relay" / "relay.py"


@dataclass(frozen=True, slots=True)
class ThrottledLink:
    """A relay that runs.

    Args:
        address: host:port where it listens.
    """

    address: str
    control: str

    def rate(self, rate: str) -> None:
        """Sets the rate in each direction, such as `256kbit`."""
        environment = os.environ | {"RELAY_CONTROL": self.control}
        subprocess.run([sys.executable, str(RELAY), "rate", rate], check=True, env=environment, capture_output=True)


@contextmanager
def throttled(target: str) -> Iterator[ThrottledLink]:
    """A link to host:port, without a limit at first."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as folder:
        control = str(Path(folder) / "control")
        command = [sys.executable, str(RELAY), "serve", "--listen", address, "--target", target]
        process = subprocess.Popen(
            command, env=os.environ | {"RELAY_CONTROL": control}, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield ThrottledLink(address, control)
        finally:
            process.terminate()
            process.communicate()
