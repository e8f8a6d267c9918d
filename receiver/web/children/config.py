"""Configuration of the sender processes that the receiver starts."""

from dataclasses import dataclass

from common.io.options import option


@dataclass(frozen=True, slots=True)
class ChildrenConfig:
    """The sender processes that the receiver starts for uploaded pictures and for cameras of browsers."""

    warm_pictures: bool = option(
        False, help="start the sender for uploaded pictures with the receiver, not with the first picture"
    )
    max_pictures: int = option(16, help="most uploaded pictures that are reconstructed or wait at a time")
    picture_timeout: float = option(30.0, help="seconds until an uploaded picture is given up")
    max_browser_cameras: int = option(2, help="most cameras of browsers at a time; each has a sender process")

    def __post_init__(self) -> None:
        if min(self.max_pictures, self.max_browser_cameras) < 1:
            raise ValueError("max_pictures and max_browser_cameras must be above 0")
        if not 0 < self.picture_timeout <= 600:
            raise ValueError(f"picture_timeout must lie in 0…600, got {self.picture_timeout:g}")
