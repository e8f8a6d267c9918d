"""The dashboards of sessions, and of how well people are reconstructed."""

from deploy.grafana.panels import Page, Panel
from deploy.grafana.queries import RECEIVER, SENDER, mean, quantile, rate

_PUBLISHED = rate("bodywire_receiver_frames_total", f'{RECEIVER}, fate="published"')
_EMPTY = rate("bodywire_sender_frames_total", f'{SENDER}, fate="empty"')
_OFFERED = rate("bodywire_sender_frames_total", f'{SENDER}, fate="offered"')
_PERSON, _KEYPOINT = "bodywire_receiver_person_score", "bodywire_receiver_keypoint_score"


def _share_above(histogram: str, score: str) -> str:
    """The share of a histogram's values in the window that are above one of its limits."""
    below = rate(f"{histogram}_bucket", f'{RECEIVER}, le="{score}"')
    return f"1 - {below} / {rate(f'{histogram}_count', RECEIVER)}"


SESSIONS = Page(
    "sessions",
    "Bodywire / Sessions",
    "Who is connected, who was refused, and does the receiver keep up?",
    (
        Panel(
            "Connected sessions",
            "Sessions whose sender is connected at the moment.",
            "short",
            [(f"sum(bodywire_receiver_streams{{{RECEIVER}}})", "streams")],
            ((48, "orange"), (60, "red")),
            kind="number",
            width=6,
        ),
        Panel(
            "Known sessions",
            "A session whose sender is away is kept for five minutes, so that the sender can resume it.",
            "short",
            [(f"sum(bodywire_receiver_peers{{{RECEIVER}}})", "sessions")],
            ((48, "orange"), (60, "red")),
            kind="number",
            width=6,
        ),
        Panel(
            "Refused streams in the last hour",
            "Whatever the reason.",
            "short",
            [(f"sum(increase(bodywire_receiver_refused_total{{{RECEIVER}}}[1h]))", "refused")],
            ((10, "orange"), (100, "red")),
            kind="number",
            width=6,
            decimals=0,
        ),
        Panel(
            "People left out",
            "People per second who were not reconstructed, because their frame has more than --peer-people.",
            "hertz",
            [(rate("bodywire_receiver_people_left_out_total", RECEIVER), "left out")],
            ((0.1, "orange"),),
            kind="number",
            width=6,
            decimals=1,
        ),
        Panel(
            "Sessions",
            "Known and connected ones.",
            "short",
            [
                (f"bodywire_receiver_peers{{{RECEIVER}}}", "known {{instance}}"),
                (f"bodywire_receiver_streams{{{RECEIVER}}}", "connected {{instance}}"),
            ],
        ),
        Panel(
            "Frames by fate",
            "Received, published, and dropped: late ones mean that the receiver is overloaded.",
            "hertz",
            [(rate("bodywire_receiver_frames_total", RECEIVER, "fate"), "{{fate}}")],
        ),
        Panel(
            "Refused streams",
            "By reason. Many of identity or malformed come from somebody who has no business here.",
            "hertz",
            [(rate("bodywire_receiver_refused_total", RECEIVER, "reason"), "{{reason}}")],
            ((1, "red"),),
        ),
        Panel(
            "Queue of the engine",
            "People that wait for the networks; a queue that stays long means that the receiver is overloaded.",
            "short",
            [(f"bodywire_receiver_queued_people{{{RECEIVER}}}", "{{instance}}")],
            ((8, "orange"), (32, "red")),
        ),
        Panel(
            "Replicas of the engine",
            "Replicas that take batches, 1 for the engine in the receiver's process; and batches that a lost one cost.",
            "short",
            [
                (f"bodywire_receiver_engine_replicas{{{RECEIVER}}}", "replicas {{instance}}"),
                (
                    f"sum by (instance) (increase(bodywire_receiver_engine_retries_total{{{RECEIVER}}}[5m]))",
                    "retries in 5 min {{instance}}",
                ),
            ],
        ),
        Panel(
            "Batches",
            "People that go through the networks together: mean.",
            "short",
            [(mean("bodywire_receiver_engine_batch_people", RECEIVER, "instance"), "{{instance}}")],
        ),
        Panel(
            "Meshes",
            "Files written per second, by kind.",
            "hertz",
            [(rate("bodywire_receiver_meshes_total", RECEIVER, "kind"), "{{kind}}")],
        ),
        Panel(
            "Versions",
            "Programs by version and weights; sender and receiver must have the same weights, codec and protocol.",
            "short",
            [
                (
                    f"count by (program, version, weights) (bodywire_build_info{{{labels}}})",
                    "{{program}} {{version}} {{weights}}",
                )
                for labels in (SENDER, RECEIVER)
            ],
        ),
    ),
)

QUALITY = Page(
    "quality",
    "Bodywire / Quality",
    "How sure is the system of the people that it shows?",
    (
        Panel(
            "People a frame",
            "Mean number of people in a published frame.",
            "short",
            [(f"{rate(f'{_PERSON}_count', RECEIVER)} / {_PUBLISHED}", "people")],
            kind="number",
            width=6,
            decimals=2,
        ),
        Panel(
            "Mean score of a person",
            "Probability that a published person is one.",
            "percentunit",
            [(mean(_PERSON, RECEIVER), "score")],
            ((0.6, "orange"), (0.8, "green")),
            first="red",
            kind="number",
            limits=(0, 1),
            width=6,
        ),
        Panel(
            "Mean confidence of a keypoint",
            "Of all 17 keypoints of the published people, hidden ones included.",
            "percentunit",
            [(mean(_KEYPOINT, RECEIVER), "confidence")],
            ((0.3, "orange"), (0.5, "green")),
            first="red",
            kind="number",
            limits=(0, 1),
            width=6,
        ),
        Panel(
            "Keypoints above 0.5",
            "Share of the keypoints whose confidence is above 0.5.",
            "percentunit",
            [(_share_above(_KEYPOINT, "0.5"), "share")],
            ((0.3, "orange"), (0.6, "green")),
            first="red",
            kind="number",
            limits=(0, 1),
            width=6,
        ),
        Panel(
            "Score of people",
            "Quantiles over published people: a low p10 means that some of them may be no people.",
            "percentunit",
            [(quantile(share, _PERSON, RECEIVER), f"p{share * 100:.0f}") for share in (0.1, 0.5, 0.9)],
            limits=(0, 1),
        ),
        Panel(
            "Confidence of keypoints",
            "Quantiles over the keypoints of published people; p10 are those that are hidden or cut off.",
            "percentunit",
            [(quantile(share, _KEYPOINT, RECEIVER), f"p{share * 100:.0f}") for share in (0.1, 0.5, 0.9)],
            limits=(0, 1),
        ),
        Panel(
            "Score of tracked people",
            "As the sender sees it, before anything is sent.",
            "percentunit",
            [(quantile(share, "bodywire_sender_person_score", SENDER), f"p{share * 100:.0f}") for share in (0.1, 0.5)],
            limits=(0, 1),
        ),
        Panel(
            "People before the cameras",
            "In the newest frame of each sender.",
            "short",
            [(f"bodywire_sender_people{{{SENDER}}}", "{{instance}}")],
        ),
        Panel(
            "Frames without people",
            "Share of the offered frames.",
            "percentunit",
            [(f"{_EMPTY} / {_OFFERED}", "empty")],
            limits=(0, 1),
            width=24,
        ),
    ),
)
