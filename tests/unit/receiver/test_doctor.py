"""What `receiver doctor` says of ports, and of where motion goes."""

import socket

import pytest

from common.doctor import Doubt
from common.errors import OutputError
from common.io.addresses import Address
from receiver.config import ListenConfig, ReceiverConfig, VmcConfig
from receiver.doctor import _checks, _listen, _motion


def test_each_program_that_takes_motion_and_those_that_do_not() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener, socket.socket(type=socket.SOCK_DGRAM) as closed:
        for each in (listener, closed):
            each.bind(("127.0.0.1", 0))
        port, refused = listener.getsockname()[1], closed.getsockname()[1]
        closed.close()
        good = ReceiverConfig(vmc=VmcConfig((f"localhost:{port}", f"127.255.255.255:{port}")))
        assert _motion(good) == (
            f"--vmc localhost:{port} leads to 127.0.0.1:{port}; "
            f"--vmc 127.255.255.255:{port} leads to 127.255.255.255:{port}, every machine of that network"
        )
        with pytest.raises(Doubt) as doubt:
            _motion(ReceiverConfig(vmc=VmcConfig((str(port), str(refused), "nowhere.invalid"))))
    first, second = str(doubt.value).split("; ")
    assert first.startswith(f"--vmc 127.0.0.1:{refused}: nothing gets there (Connection refused): start the program")
    assert second.startswith("--vmc nowhere.invalid:39539: ") and second.endswith(
        "give an address that this machine knows"
    )


def test_port_of_senders_is_free_for_both_protocols() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", taken.getsockname()[1])
        assert _listen(ReceiverConfig(listen=ListenConfig(address, quic=False))) == f"{address} is free"
        with pytest.raises(OutputError, match=f"cannot listen on UDP {address} .*: give --listen another port"):
            _listen(ReceiverConfig(listen=ListenConfig(address)))


def test_what_takes_seconds_is_checked_last() -> None:
    assert [name for name, _ in _checks(ReceiverConfig(vmc=VmcConfig(("39539",))))][-1] == "networks"


def test_motion_is_checked_where_it_is_sent() -> None:
    names = [[name for name, _ in _checks(ReceiverConfig(vmc=VmcConfig(texts)))] for texts in ((), ("39539",))]
    assert ["motion" in each for each in names] == [False, True]
