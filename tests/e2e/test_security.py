"""Both daemons with certificates and a token, as documented."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.daemons import receiver, run

CERTS = Path(__file__).parents[2] / "deploy" / "certs"


@pytest.mark.parametrize(
    "transport", ["auto", *(pytest.param(each, marks=pytest.mark.slow) for each in ("grpc", "quic"))]
)
def test_encrypted_frames_with_certificates_and_a_token(tmp_path: Path, transport: str) -> None:
    certs, image, token = tmp_path / "certs", tmp_path / "grey.png", tmp_path / "token"
    Image.fromarray(np.full((64, 64, 3), 128, dtype=np.uint8)).save(image)
    for script, *more in (["make-ca.sh"], ["issue.sh", "receiver", "127.0.0.1"], ["issue.sh", "camera"]):
        subprocess.run(["sh", str(CERTS / script), str(certs), *more], check=True, capture_output=True)
    command = [
        sys.executable,
        "-m",
        "receiver.link.auth.tokens",
        str(tmp_path / "tokens.toml"),
        "camera",
        "--days",
        "1",
    ]
    token.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def tls_flags(name: str) -> list[str]:
        pair = ["--tls-cert", str(certs / f"{name}.pem"), "--tls-key", str(certs / f"{name}.key")]
        return [*pair, "--tls-ca", str(certs / "ca.pem")]

    accepted = (*tls_flags("receiver"), "--tokens", str(tmp_path / "tokens.toml"))
    with receiver(tmp_path / "out", *accepted) as running:
        flags = ["--camera", str(image), "--peer", running.address, *tls_flags("camera"), "--transport", transport]
        sent = run("sender", *flags, "--token-file", str(token))
        assert sent.returncode == 0, sent.stderr
        assert "sent 1 frame:" in sent.stdout
        refused = run("sender", *flags)
        assert refused.returncode == 4
        assert "give --token-file" in refused.stderr
        code, errors = running.terminate()
    assert code == 0, errors
    assert "Traceback" not in errors
