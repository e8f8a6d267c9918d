"""Opens gRPC streams as the security configuration says, and finds out why one could not be opened."""

import asyncio
import ssl
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from common.addresses import Address
from common.wire.convert import STREAM_METHOD, STREAM_SERVICE
from sender.link.grpc_stream import OPTIONS, GrpcClientStream
from sender.link.security import Credentials, SecurityConfiguration, read_credentials, read_token

_PROBE_S = 0.5
_KNOCK_S = 0.15
_KNOCK_PATIENCE_S = 1.0
_BANNER_BYTES = 64
_ALPN = "h2"
# How HTTP/2 begins on an encrypted connection: a frame of settings, shorter than 64 kB.
_HTTP2 = b"\x00\x00"


class Transport:
    """Streams to receivers, encrypted or not; certificates and token are read anew for each.

    Args:
        configuration: whom to trust, and what to show.
    """

    def __init__(self, configuration: SecurityConfiguration | None = None) -> None:
        self._configuration = configuration or SecurityConfiguration()

    def check(self, peer: Address) -> None:
        """Reads what a connection would be made with.

        Raises:
            UsageError: a certificate, key or token cannot be read, or must not be sent there.
        """
        read_credentials(self._configuration, peer)
        read_token(self._configuration, peer)

    async def open(self, peer: Address) -> GrpcClientStream:
        """Begins to connect; a peer that cannot be reached shows when reading or writing.

        Raises:
            UsageError: a certificate, key or token cannot be read.
        """
        credentials = read_credentials(self._configuration, peer)
        token = read_token(self._configuration, peer)
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

    async def knock(self, peer: Address) -> None:
        """Returns as soon as there is a network to the peer, whether or not anybody listens there.

        A lost SYN is sent again after a second, then after two more: instead, a new one goes out every `_KNOCK_S`, and
        the first answer counts.
        """
        knocks: list[asyncio.Task[bool]] = []
        try:
            while True:
                knocks.append(asyncio.create_task(_answers(peer)))
                await asyncio.wait(knocks, timeout=_KNOCK_S, return_when=asyncio.FIRST_COMPLETED)
                done = [knock for knock in knocks if knock.done()]
                if any(knock.result() for knock in done):
                    return
                if done:
                    await asyncio.sleep(_KNOCK_S)  # no way there at all: the next attempt would say so as fast
                knocks = [knock for knock in knocks if not knock.done()]
        finally:
            for knock in knocks:
                knock.cancel()
            await asyncio.gather(*knocks, return_exceptions=True)

    async def probe(self, peer: Address) -> str | None:
        """Why there may be no stream to a peer that takes connections.

        Returns:
            What is wrong and what to do; None if there is no TCP connection to be had.
        """
        credentials = read_credentials(self._configuration, peer)
        if credentials is not None:
            return await _probe_encrypted(peer, credentials)
        answer = await _greet(peer, None)
        if answer is not None and answer.hung_up and not answer.banner and await _speaks_tls(peer):
            return f"the receiver at {peer} encrypts: leave out --insecure, and give --tls-ca"
        return None if answer is None else _foreign(peer, answer.banner)


class _Answer(NamedTuple):
    """What a server did with a greeting in another protocol than its own."""

    banner: bytes
    hung_up: bool


async def _answers(peer: Address) -> bool:
    """Whether a machine answers at an address, be it with a refusal."""
    try:
        async with asyncio.timeout(_KNOCK_PATIENCE_S):
            _, writer = await asyncio.open_connection(peer.host, peer.port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _probe_encrypted(peer: Address, credentials: Credentials) -> str | None:
    context = ssl.create_default_context(cadata=credentials.authority.decode() if credentials.authority else None)
    context.set_alpn_protocols([_ALPN])
    if credentials.certificate and credentials.key:
        _show(context, credentials.certificate, credentials.key)
    try:
        answer = await _greet(peer, context, credentials.name)
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


async def _greet(peer: Address, context: ssl.SSLContext | None, name: str | None = None) -> _Answer | None:
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
        return await _greet(peer, context) is not None
    except ssl.SSLError:
        return False


def _foreign(peer: Address, banner: bytes) -> str:
    text = banner.decode("ascii", errors="replace").splitlines()
    printable = "".join(character for character in text[0] if character.isprintable()) if text else ""
    said = f"answered {printable!r}" if printable else "takes connections but does not answer"
    return f"what listens at {peer} is not a Bodywire receiver (it {said}): check --peer"
