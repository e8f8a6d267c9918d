"""Options of the motion that goes to other programs."""

from dataclasses import dataclass

from common.io.addresses import Address
from common.io.options import option

DEFAULT_ADDRESS = Address("127.0.0.1", 39539)
"""Where programs that show avatars listen: the port of the protocol's specification."""


@dataclass(frozen=True, slots=True)
class VmcConfig:
    """Motion for programs that show avatars."""

    vmc: str | None = option(
        None,
        help="send the followed person's skeleton to this HOST:PORT as VMC over OSC, 60 times a second, 30 with "
        "--playout off",
    )

    def __post_init__(self) -> None:
        if self.vmc is not None:
            try:
                port = self.address.port if self.address else 0
            except ValueError as error:
                raise ValueError(f"--vmc: {error}") from error
            if port == 0:
                raise ValueError("--vmc needs a port from 1 on, such as 127.0.0.1:39539")

    @property
    def address(self) -> Address | None:
        """Where to; a port alone is one of this machine. None without `--vmc`."""
        if self.vmc is None:
            return None
        return Address.parse(f":{self.vmc}" if self.vmc.isdecimal() else self.vmc, DEFAULT_ADDRESS)
