"""Opens gRPC streams as the security configuration says, and finds out why one could not be opened."""

import asyncio
import contextlib
import errno
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from common.io.addresses import Address
from common.wire.convert import STREAM_METHOD, STREAM_SERVICE
from common.wire.stream import StreamBroken
from sender.link.transport.grpc_stream import OPTIONS, GrpcClientStream
from sender.link.transport.happy_eyeballs import happy_eyeballs
from sender.link.transport.reachability_probe import reachability_probe
from sender.link.transport.security import Credentials, SecurityConfig, read_credentials, read_token

_PROBE_S = 0.5
# How long a connection may take to stand before another one is tried: the first, while it is not known whether there is
# a network; one that was begun because there is; and if there is none.
_HEAD_START_S, _SETTLING_S, _ANOTHER_AFTER_S = 0.2, 0.5, 10.0
_REACH_PATIENCE_S = 20.0
_NO_NETWORK = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT)
_BANNER_BYTES = 64
_ALPN = "h2"
# How HTTP/2 begins: a frame of settings, shorter than 64 kB.
_HTTP2 = b"\x00\x00"


class Transport:
    """Streams to receivers, encrypted or not; certificates and token are read anew for each.

    Args:
        config: whom to trust, and what to show.
    """

    def __init__(self, config: SecurityConfig | None = None) -> None:
        self._config = config or SecurityConfig()

    def check(self, peer: Address) -> None:
        """Reads what a connection would be made with.

        Raises:
            UsageError: a certificate, key or token cannot be read, or must not be sent there.
        """
        read_credentials(self._config, peer)
        read_token(self._config, peer)

    async def open(self, peer: Address) -> GrpcClientStream:
        """Begins to connect; a peer that cannot be reached shows when reading or writing.

        Raises:
            UsageError: a certificate, key or token cannot be read.
        """
        credentials = read_credentials(self._config, peer)
        token = read_token(self._config, peer)
        if credentials is None:
            channel: Any = grpc.aio.insecure_channel(str(peer), options=OPTIONS)
        else:
            trusted = grpc.ssl_channel_credentials(credentials.authority, credentials.key, credentials.certificate)
            named = (("grpc.ssl_target_name_override", credentials.name),) if credentials.name else ()
            channel = grpc.aio.secure_channel(str(peer), trusted, options=(*OPTIONS, *named))
        metadata = (("authorization", f"Bearer {token}"),) if token else None
        # Without (de)serialisers messages stay bytes: `common.wire.convert` judges what arrives.
        call = channel.stream_stream(f"/{STREAM_SERVICE}/{STREAM_METHOD}")(metadata=metadata)
        return GrpcClientStream(channel, call)

    async def reach(self, peer: Address) -> GrpcClientStream:
        """A stream over a connection that stands, as soon as there is a network to the peer.

        A connection whose SYN was lost asks again in its own time, and then sends slowly: so another is begun as soon
        as somebody there answers a `probe`, and the first that stands counts.

        Raises:
            StreamBroken: the peer's machine answers, but nobody there takes connections.
            UsageError: a certificate, key or token cannot be read.
        """
        wait_s = _HEAD_START_S

        async def attempt() -> GrpcClientStream | None:
            stream = await self.open(peer)
            return stream if await _stands(stream) else None

        async def again() -> None:
            nonlocal wait_s
            await asyncio.sleep(wait_s)
            wait_s = 0.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ANOTHER_AFTER_S):
                    await reachability_probe(peer)
                wait_s = _SETTLING_S

        return await happy_eyeballs(attempt, again)

    async def probe(self, peer: Address) -> str | None:
        """Why there may be no stream to a peer that takes connections.

        Returns:
            What is wrong and what to do; None if there is no TCP connection to be had.
        """
        credentials = read_credentials(self._config, peer)
        if credentials is not None:
            return await _probe_encrypted(peer, credentials)
        answer = await _receive_hello(peer, None)
        if answer is not None and answer.hung_up and not answer.banner and await _speaks_tls(peer):
            return f"the receiver at {peer} encrypts: leave out --insecure, and give --tls-ca"
        return None if answer is None or answer.banner.startswith(_HTTP2) else _foreign(peer, answer.banner)


class _Answer(NamedTuple):
    """What a server did with a greeting in another protocol than its own."""

    banner: bytes
    hung_up: bool


async def _stands(stream: GrpcClientStream) -> bool:
    """Waits for the connection under a stream; closes the stream if there is no network, or none comes of it.

    Raises:
        StreamBroken: the peer's machine refuses it.
    """
    stands = False
    try:
        async with asyncio.timeout(_REACH_PATIENCE_S):
            await stream.connected()
        stands = True
    except TimeoutError:
        pass
    except StreamBroken as error:
        if not any(os.strerror(number) in error.reason for number in _NO_NETWORK):
            raise
    finally:
        if not stands:
            await stream.close()
    return stands


async def _probe_encrypted(peer: Address, credentials: Credentials) -> str | None:
    context = ssl.create_default_context(cadata=credentials.authority.decode() if credentials.authority else None)
    context.set_alpn_protocols([_ALPN])
    if credentials.certificate and credentials.key:
        _show(context, credentials.certificate, credentials.key)
    try:
        answer = await _receive_hello(peer, context, credentials.name)
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of the receiver at {peer} does not hold: {_verdict(error)}"
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            return f"what listens at {peer} does not encrypt: give it a certificate, or --insecure here if you must"
        return f"no encrypted connection to {peer}: {error.reason or error}"
    if answer is None or answer.banner.startswith(_HTTP2):
        return None
    if answer.hung_up and not answer.banner:
        # TLS 1.3: the server judges our certificate after the handshake, and gRPC hangs up without a word.
        if credentials.certificate is None:
            return f"the receiver at {peer} wants a certificate: give --tls-cert and --tls-key"
        return f"the receiver at {peer} does not accept --tls-cert: it has expired, or another authority signed it"
    return _foreign(peer, answer.banner)


def _verdict(error: ssl.SSLCertVerificationError) -> str:
    message = error.verify_message.rstrip(".")
    if "mismatch" in message:
        return f"{message}; issue one for that name, or give --tls-name"
    if "expired" in message or "not yet valid" in message:
        return f"{message}; issue a new one, or set the clock"
    return f"{message}; give the authority that signed it as --tls-ca"


def _show(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Python's TLS takes a certificate from files only."""
    with tempfile.TemporaryDirectory(prefix="bodywire-") as folder:
        paths = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        for path, content in zip(paths, (certificate, key), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(content)
        context.load_cert_chain(*paths)


async def _receive_hello(peer: Address, context: ssl.SSLContext | None, name: str | None = None) -> _Answer | None:
    """Says something that is not gRPC; None if there is no connection to be had.

    Raises:
        ssl.SSLError: the handshake failed.
    """
    server_name = (name or peer.host) if context else None
    try:
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(
                peer.host, peer.port, ssl=context, server_hostname=server_name
            )
    except ssl.SSLError:
        raise
    except (OSError, TimeoutError):
        return None
    try:
        async with asyncio.timeout(_PROBE_S):
            if context is None:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
            banner = await reader.read(_BANNER_BYTES)
        return _Answer(banner, hung_up=not banner)
    except TimeoutError:
        return _Answer(b"", hung_up=False)
    except OSError:
        return _Answer(b"", hung_up=True)
    finally:
        writer.close()


async def _speaks_tls(peer: Address) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([_ALPN])
    try:
        return await _receive_hello(peer, context) is not None
    except ssl.SSLError:
        return False


def _foreign(peer: Address, banner: bytes) -> str:
    text = banner.decode("ascii", errors="replace").splitlines()
    printable = "".join(character for character in text[0] if character.isprintable()) if text else ""
    said = f"answered {printable!r}" if printable else "takes connections but does not answer"
    return f"what listens at {peer} is not a Bodywire receiver (it {said}): check --peer"
