"""Options of uploads."""

from dataclasses import dataclass

from common.io.options import option


@dataclass(frozen=True, slots=True)
class UploadConfig:
    """Pictures that are uploaded, and the models made of them."""

    upload_bytes: int = option(20_000_000, help="most bytes of an uploaded picture")
    upload_pixels: int = option(50_000_000, help="most pixels of an uploaded picture")
    upload_seconds: float = option(60.0, help="time within which a picture must have arrived, in seconds")
    uploads_per_minute: float = option(60.0, help="most pictures of one account in a minute")
    account_models: int = option(200, help="most models that one account may keep")

    def __post_init__(self) -> None:
        if min(self.upload_bytes, self.upload_pixels, self.account_models) < 1:
            raise ValueError("--upload-bytes, --upload-pixels and --account-models must be at least 1")
        if self.upload_seconds <= 0 or self.uploads_per_minute <= 0:
            raise ValueError("--upload-seconds and --uploads-per-minute must be above 0")
