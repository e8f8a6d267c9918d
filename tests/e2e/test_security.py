"""Both daemons with certificates and a token over each transport; `test_frames.py` has the one that is chosen."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.daemons import Secured, receiver, run


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["grpc", "quic"])
def test_encrypted_frames_with_certificates_and_a_token(tmp_path: Path, transport: str) -> None:
    image, secured = tmp_path / "grey.png", Secured.in_folder(tmp_path)
    Image.fromarray(np.full((64, 64, 3), 128, dtype=np.uint8)).save(image)
    with receiver(tmp_path / "out", *secured.receiver) as running:
        flags = ["--camera", str(image), "--peer", running.address, *secured.sender, "--transport", transport]
        sent = run("sender", *flags, *secured.token)
        assert sent.returncode == 0, sent.stderr
        assert "sent 1 frame:" in sent.stdout
        refused = run("sender", *flags)
        assert refused.returncode == 4
        assert "give --token-file" in refused.stderr
        code, errors = running.terminate()
    assert code == 0, errors
    assert "Traceback" not in errors
