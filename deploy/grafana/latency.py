"""The dashboard of the time from the camera to the mesh."""

from deploy.grafana.panels import Page, Panel
from deploy.grafana.queries import RECEIVER, SENDER, mean, quantile, rate

_AGE = "bodywire_receiver_frame_age_seconds"
_SENDER_STAGE, _RECEIVER_STAGE = "bodywire_sender_stage_seconds", "bodywire_receiver_stage_seconds"
_ROUND_TRIP = "bodywire_sender_round_trip_seconds"
_LATE_S, _TOO_LATE_S = (0.2, "orange"), (0.5, "red")

LATENCY = Page(
    "latency",
    "Bodywire / Latency",
    "How old is a mesh when it is published, and which stage takes the time?",
    (
        Panel(
            "Age, median",
            "From the capture of a frame to its published mesh, on clocks whose offset is known. Orange: above 0.2 s.",
            "s",
            [(quantile(0.5, _AGE, RECEIVER), "p50")],
            (_LATE_S, _TOO_LATE_S),
            kind="number",
            width=6,
        ),
        Panel(
            "Age, 95th percentile",
            "One frame in twenty is older. An alert fires when this stays above 0.5 s.",
            "s",
            [(quantile(0.95, _AGE, RECEIVER), "p95")],
            (_LATE_S, _TOO_LATE_S),
            kind="number",
            width=6,
        ),
        Panel(
            "Published frames per second",
            "Over all sessions of the receiver.",
            "hertz",
            [(rate("bodywire_receiver_frames_total", f'{RECEIVER}, fate="published"'), "frames")],
            ((5, "orange"), (10, "green")),
            first="red",
            kind="number",
            width=6,
            decimals=1,
        ),
        Panel(
            "Error of the clocks",
            "Largest error of the age: half of the smallest round trip, plus the drift since it was measured.",
            "s",
            [(f"max(bodywire_receiver_clock_error_seconds{{{RECEIVER}}})", "error")],
            ((0.02, "orange"), (0.1, "red")),
            kind="number",
            width=6,
        ),
        Panel(
            "Age of a frame",
            "From the capture of a frame to its published mesh.",
            "s",
            [(quantile(share, _AGE, RECEIVER), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99)],
            (_LATE_S, _TOO_LATE_S),
        ),
        Panel(
            "Round trip",
            "From the departure of a frame to its acknowledgement, without the time that the receiver spends on it.",
            "s",
            [(quantile(share, _ROUND_TRIP, SENDER), f"p{share * 100:.0f}") for share in (0.5, 0.95)],
            ((0.15, "orange"), (0.5, "red")),
        ),
        *(
            Panel(
                f"{program} stages, {name}",
                f"Time of one pass through each stage of the {program.lower()}; stages of different frames overlap.",
                "s",
                [(quantile(share, metric, labels, "stage"), "{{stage}}")],
                ((0.1, "orange"), (0.3, "red")),
            )
            for program, metric, labels in (
                ("Sender", _SENDER_STAGE, SENDER),
                ("Receiver", _RECEIVER_STAGE, RECEIVER),
            )
            for share, name in ((0.5, "median"), (0.95, "95th percentile"))
        ),
        Panel(
            "Mean time by stage",
            "What the stages of both ends take on average, stacked. The rest of the age is transport and waiting.",
            "s",
            [
                (mean(_SENDER_STAGE, f'{SENDER}, stage!="preview"', "stage"), "sender {{stage}}"),
                (mean(_RECEIVER_STAGE, RECEIVER, "stage"), "receiver {{stage}}"),
            ],
            kind="stack",
            width=24,
        ),
    ),
)
