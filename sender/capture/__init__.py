"""From a camera, a video, images or the demo clip to a stream of `CapturedFrame`."""

from sender.capture.open import CaptureConfig, open_source
from sender.capture.source import CapturedFrame, FrameSource

__all__ = ["CaptureConfig", "CapturedFrame", "FrameSource", "open_source"]
