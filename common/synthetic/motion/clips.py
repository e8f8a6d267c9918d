"""What is known of a clip by its name and by what its source says: in what manner somebody moves."""

import re

KINDS: tuple[str, ...] = (
    "walk", "run", "sit", "stand_talk", "gesture", "dance", "reach", "crouch_lie", "sport", "other",
)  # fmt: skip

# The first pattern that is found in name and activity decides. Trials 001 to 007 of CMU have no activity in words.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("gesture", r"invite"),
    ("sit", r"sit|driving|meditate"),
    ("other", r"levitat|flying|swim|power_up"),
    ("dance", r"danc|ballet|cmu/005_(?!01)"),
    (
        "gesture",
        r"signal|direct traffic|laugh|wave|cheer|clap|shrug|present|greet|/bow|nod|reject|victory|angry",
    ),
    ("reach", r"jump up to grab|reach|scaption|shoulder|pick|document|work|picture|drink|bottle|door|interact|fixing"),
    ("sport", r"jump|soccer|boxing|kick|punch|jab|flip|cartwheel|fight|sword|throw|climb|lunge|hurdle|leg raise"),
    ("sport", r"/push_|spin|pistol|spell|blast|defend|gym|hit_chest|cmu/001|cmu/006_(?!01)|cmu/002_0[45789]"),
    ("crouch_lie", r"crouch|crawl|kneel|sleep|pushup|/roll|getup|squat"),
    ("run", r"run|jog|sprint|cmu/002_03"),
    ("walk", r"walk|zombie|turn|navigate|stride|cmu/00[37]_|cmu/00[256]_0[12]"),
    ("reach", r"window|cmu/002_(06|10)"),
    ("stand_talk", r"listen|talk|idle|phone|gestic|standing|confused|tired|shiver"),
)


def clip_kind(name: str, activity: str = "") -> str:
    """One of `KINDS`, of a clip such as `rocketbox/f_wave_01` and its activity in words."""
    text = f"{name} {activity}".lower()
    return next((kind for kind, pattern in _PATTERNS if re.search(pattern, text)), "other")
