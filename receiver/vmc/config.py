"""Options of the motion that goes to other programs."""

import ipaddress
from dataclasses import dataclass

from common.io.addresses import Address
from common.io.command_line import option

DEFAULT_ADDRESS = Address("127.0.0.1", 39539)
"""Where programs that show avatars listen: the port of the protocol's specification."""


@dataclass(frozen=True, slots=True)
class VmcConfig:
    """Motion for programs that show avatars."""

    vmc: tuple[str, ...] = option(
        (),
        help="send skeleton and face of the followed person to this HOST:PORT as VMC over OSC, 60 times a second, 30 "
        "with --playout off; again for each further program",
    )

    def __post_init__(self) -> None:
        try:
            addresses = self.addresses
        except ValueError as error:
            raise ValueError(f"--vmc: {error}") from error
        for number, address in enumerate(addresses):
            if address.port == 0:
                raise ValueError("--vmc needs a port from 1 on, such as 127.0.0.1:39539")
            if address in addresses[:number]:
                raise ValueError(f"--vmc {address} is there twice: give each program once")
            if _lacks_interface(address.host):
                raise ValueError(f"--vmc {address} needs its interface, such as [{address.host}%eth0]:{address.port}")

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where to; a port alone is one of this machine."""
        texts = (f":{text}" if text.isdecimal() else text for text in self.vmc)
        return tuple(Address.parse(text, DEFAULT_ADDRESS) for text in texts)


def _lacks_interface(host: str) -> bool:
    """Whether it is an address of IPv6 that each network has for itself, without saying which network is meant."""
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return False
    local = address.is_link_local or (address.is_multicast and address.packed[1] & 0x0F in (1, 2))
    return local and address.scope_id is None
