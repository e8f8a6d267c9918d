"""Security of the receiver's port: configuration, and TLS credentials.

On the loopback nothing is encrypted unless a certificate is given; any other address needs TLS or `--insecure`.
"""

from typing import Any

import grpc

from common.wire.certificates import CertificateFiles, Certificates
from receiver.link.auth.config import SecurityConfig


def server_credentials(config: SecurityConfig) -> grpc.ServerCredentials | None:
    """TLS credentials of the port, None for no encryption; changed files apply from the next connection on.

    Raises:
        UsageError: a file cannot be read, is damaged, has expired, or certificate and key do not match.
    """
    if config.tls_cert is None:
        return None
    files = _ServedFiles(CertificateFiles(config.tls_cert, config.tls_key, config.tls_ca))
    return grpc.dynamic_ssl_server_credentials(
        files.read(), files.read_if_changed, require_client_authentication=config.tls_ca is not None
    )


class _ServedFiles:
    """The certificate files in the form that gRPC asks for."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._served: Certificates | None = None

    def read(self) -> Any:
        """The files' content, for the start of the server."""
        self._served = served = self._files.current()
        return grpc.ssl_server_certificate_configuration(
            [(served.key, served.certificate)], root_certificates=served.authority
        )

    def read_if_changed(self) -> Any:
        """Called by gRPC for each connection; None keeps the present content."""
        return None if self._files.current() is self._served else self.read()
