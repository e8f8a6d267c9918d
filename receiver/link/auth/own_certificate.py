"""A certificate that the receiver makes for itself, where it is given none: QUIC needs one."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from common.wire.certificates import OWN_CERTIFICATE_NAME, Certificates

# It ends with the process, whatever the clocks of the two ends say.
_BEGIN, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class OwnCertificate:
    """A certificate and its key, in memory only; senders trust it as far as they trust who tells it to them.

    Attributes:
        der: the certificate, as it is told.
    """

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, OWN_CERTIFICATE_NAME)])
        names = x509.SubjectAlternativeName([x509.DNSName(OWN_CERTIFICATE_NAME)])
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _BEGIN, _END)
        made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
        encoding, unencrypted = serialization.Encoding, serialization.NoEncryption()
        private = key.private_bytes(encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
        self.der = made.public_bytes(encoding.DER)
        self._certificates = Certificates(made.public_bytes(encoding.PEM), private, None)

    def current(self) -> Certificates:
        """See `CertificateFiles.current`."""
        return self._certificates
