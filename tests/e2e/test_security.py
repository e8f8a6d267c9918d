"""Both daemons with certificates and a token, as the README says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.e2e.daemons import receiver, run

CERTS = Path(__file__).parents[2] / "deploy" / "certs"


def test_frames_cross_encrypted_with_certificates_and_a_token(tmp_path: Path) -> None:
    certs, picture, token = tmp_path / "certs", tmp_path / "grey.png", tmp_path / "token"
    Image.fromarray(np.full((64, 64, 3), 128, dtype=np.uint8)).save(picture)
    for script, *more in (["make-ca.sh"], ["issue.sh", "receiver", "127.0.0.1"], ["issue.sh", "camera"]):
        subprocess.run(["sh", str(CERTS / script), str(certs), *more], check=True, capture_output=True)
    made = [sys.executable, "-m", "receiver.link.auth.tokens", str(tmp_path / "tokens.toml"), "camera", "--days", "1"]
    token.write_text(subprocess.run(made, check=True, capture_output=True, text=True).stdout)

    def mine(name: str) -> list[str]:
        pair = ["--tls-cert", str(certs / f"{name}.pem"), "--tls-key", str(certs / f"{name}.key")]
        return [*pair, "--tls-ca", str(certs / "ca.pem")]

    with receiver(tmp_path / "out", *mine("receiver"), "--tokens", str(tmp_path / "tokens.toml")) as running:
        sent = run(
            "sender", "--camera", str(picture), "--peer", running.address, *mine("camera"), "--token-file", str(token)
        )
        assert sent.returncode == 0, sent.stderr
        assert "sent 1 frames" in sent.stdout
        refused = run("sender", "--camera", str(picture), "--peer", running.address, *mine("camera"))
        assert refused.returncode == 4
        assert "give --token-file" in refused.stderr
        code, errors = running.terminate()
    assert code == 0, errors
    assert "Traceback" not in errors
