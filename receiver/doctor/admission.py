"""Checks of whom the receiver admits."""

from common.doctor.finding import Finding, ok, warning
from common.io.addresses import Address
from receiver.link.auth.config import SecurityConfig
from receiver.link.auth.tokens import TokenFile


def check_admission(security: SecurityConfig, listen: Address) -> Finding:
    """Who can send; raises UsageError if other machines could by accident, or if a file cannot be used."""
    security.check(listen)
    if security.tokens is not None:
        TokenFile(security.tokens)
    proofs = [f"a token of {security.tokens}"] if security.tokens else []
    proofs += [f"a certificate signed by {security.tls_ca}"] if security.tls_ca else []
    proof = f"senders present {' and '.join(proofs)}" if proofs else "senders prove nothing"
    if listen.is_loopback:
        return ok("admission", f"this machine only; {proof}")
    if security.tls_cert is None:
        found = "everybody who reaches this machine can send, and everybody on the way can read the frames"
        return warning("admission", found, "give certificates; see docs/security.md")
    if not proofs:
        found = "encrypted, but everybody who reaches this machine can send"
        return warning("admission", found, "give --tokens or --tls-ca")
    return ok("admission", f"encrypted; {proof}")
