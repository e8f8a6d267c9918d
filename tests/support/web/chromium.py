"""How tests and benches start Chromium: without a window, and drawing on the processor, so that no GPU is needed."""

import shutil

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
"""Its path, or that of Debian's if it is not installed."""
# As where there is no GPU: SwiftShader draws WebGL, and only that; the page is put together without it.
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-gpu-compositing")
CAMERA_FLAGS = ("--use-fake-device-for-media-stream=device-count=2", "--use-fake-ui-for-media-stream")
"""Two cameras that need neither a device nor somebody who allows it."""
