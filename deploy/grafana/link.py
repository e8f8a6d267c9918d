"""The dashboards of the link and of the labels that it carries."""

from deploy.grafana.panels import Page, Panel
from deploy.grafana.queries import RECEIVER, SENDER, WINDOW, mean, quantile, rate

_LABEL_BITS = f"8 * {rate('bodywire_sender_label_bytes_total', SENDER)}"
_BULK_BITS = f"8 * {rate('bodywire_sender_bulk_bytes_total', SENDER)}"
_SENT = rate("bodywire_sender_frames_total", f'{SENDER}, fate="sent"')
_BYTES_A_FRAME = f"{rate('bodywire_sender_label_bytes_total', SENDER)} / {_SENT}"


def _fate(fate: str) -> tuple[str, str]:
    return rate("bodywire_sender_frames_total", f'{SENDER}, fate="{fate}"'), fate


LINK = Page(
    "link",
    "Bodywire / Link",
    "What can the link carry, what does it carry, and how does rate control answer?",
    (
        Panel(
            "Senders connected",
            "Share of the senders that have a receiver.",
            "percentunit",
            [(f"avg(bodywire_sender_connected{{{SENDER}}})", "connected")],
            ((0.5, "orange"), (1, "green")),
            first="red",
            kind="number",
            limits=(0, 1),
            width=6,
        ),
        Panel(
            "Labels and colours",
            "What leaves the senders, without the headers of gRPC, TCP and IP.",
            "bps",
            [(f"{_LABEL_BITS} + {_BULK_BITS}", "total")],
            kind="number",
            width=6,
        ),
        Panel(
            "Capacity",
            "The smallest estimate among the senders. Below 64 kbit/s the labels become coarse.",
            "bps",
            [(f"8 * min(bodywire_sender_capacity_bytes_per_second{{{SENDER}}})", "capacity")],
            ((64e3, "orange"), (128e3, "green")),
            first="red",
            kind="number",
            width=6,
        ),
        Panel(
            "Reconnects in the last hour",
            "Connections made again after a loss, and those of them that another receiver of --peer took over.",
            "short",
            [
                (f"sum(increase(bodywire_sender_reconnects_total{{{SENDER}}}[1h]))", "reconnects"),
                (f"sum(increase(bodywire_sender_failovers_total{{{SENDER}}}[1h]))", "other receivers"),
            ],
            ((1, "orange"), (10, "red")),
            kind="number",
            width=6,
            decimals=0,
        ),
        Panel(
            "Capacity and use",
            "The estimated capacity of the link drives the rate; B(t) (15) reads what was sent while the link is idle.",
            "bps",
            [
                (f"8 * bodywire_sender_capacity_bytes_per_second{{{SENDER}}}", "capacity {{instance}}"),
                (f"8 * bodywire_sender_bandwidth_bytes_per_second{{{SENDER}}}", "B(t) {{instance}}"),
                (_LABEL_BITS, "labels"),
                (_BULK_BITS, "colours"),
            ],
        ),
        Panel(
            "Delay",
            "D(t) (16), and the round trip of frames.",
            "s",
            [
                (f"bodywire_sender_delay_seconds{{{SENDER}}}", "D(t) {{instance}}"),
                (quantile(0.5, "bodywire_sender_round_trip_seconds", SENDER), "round trip p50"),
                (quantile(0.95, "bodywire_sender_round_trip_seconds", SENDER), "round trip p95"),
            ],
            ((0.15, "orange"), (0.5, "red")),
        ),
        Panel(
            "Compression ρ",
            "By label group (17), the mean of the senders: higher means coarser labels, and fewer of them.",
            "short",
            [(f"avg by (group) (bodywire_sender_rho{{{SENDER}}})", "{{group}}")],
            decimals=2,
        ),
        Panel(
            "Link stress f",
            "f in (17): 0 leaves the labels as fine as they can be, 1 makes them as coarse as they can be.",
            "percentunit",
            [(f"bodywire_sender_link_stress{{{SENDER}}}", "{{instance}}")],
            ((0.5, "orange"), (0.9, "red")),
        ),
        Panel(
            "Frames",
            "Offered by the camera, sent, acknowledged; replaced by a newer one, or too late for the receiver.",
            "hertz",
            [_fate(fate) for fate in ("offered", "sent", "acknowledged", "replaced", "late", "unacknowledged")],
        ),
        Panel(
            "Window and outstanding frames",
            "How many frames may be unacknowledged, and how many frames are not settled yet.",
            "short",
            [
                (f"bodywire_sender_window_frames{{{SENDER}}}", "window {{instance}}"),
                (f"bodywire_sender_outstanding_frames{{{SENDER}}}", "outstanding {{instance}}"),
            ],
        ),
        Panel(
            "Spool",
            "Frames on the senders' disks that wait for the link, with --delivery complete.",
            "short",
            [(f"bodywire_sender_spooled_frames{{{SENDER}}}", "{{instance}}")],
            ((1000, "orange"), (10_000, "red")),
        ),
        Panel(
            "Connections",
            "1 while a sender has a receiver, and while its camera delivers.",
            "short",
            [
                (f"bodywire_sender_connected{{{SENDER}}}", "connected {{instance}}"),
                (f"bodywire_sender_camera_up{{{SENDER}}}", "camera {{instance}}"),
            ],
            limits=(0, 1),
        ),
    ),
)

LABELS = Page(
    "labels",
    "Bodywire / Labels",
    "What is in the bytes of a frame?",
    (
        Panel(
            "Bytes a frame",
            "Mean payload of a sent frame, header included.",
            "bytes",
            [(_BYTES_A_FRAME, "bytes")],
            ((150, "orange"), (400, "red")),
            kind="number",
            width=8,
            decimals=1,
        ),
        Panel(
            "Label bytes received",
            "Of all senders, at the receiver.",
            "Bps",
            [(rate("bodywire_receiver_label_bytes_total", RECEIVER), "labels")],
            kind="number",
            width=8,
        ),
        Panel(
            "Colours received",
            "Blobs with the colours of people's surface, sent in the gaps between frames.",
            "Bps",
            [(rate("bodywire_receiver_bulk_bytes_total", RECEIVER), "colours")],
            kind="number",
            width=8,
        ),
        Panel(
            "Bytes a frame by label group",
            "Mean payload of a sent frame, by group. Slow groups such as shape and appearance are sent on change only.",
            "bytes",
            [
                (
                    f"{rate('bodywire_sender_label_bytes_total', SENDER, 'group')} / on () group_left () {_SENT}",
                    "{{group}}",
                )
            ],
            kind="stack",
            width=24,
        ),
        Panel(
            "Confidence by label group",
            "Mean confidence that the sender gives its labels.",
            "percentunit",
            [(mean("bodywire_sender_label_confidence", SENDER, "group"), "{{group}}")],
            ((0.3, "orange"), (0.6, "green")),
            first="red",
            limits=(0, 1),
        ),
        Panel(
            "Frames that could not be used",
            "At the receiver: malformed, undecodable, or received before.",
            "hertz",
            [
                (
                    "sum by (fate) (rate(bodywire_receiver_frames_total"
                    f'{{{RECEIVER}, fate=~"malformed|undecodable|duplicate"}}[{WINDOW}]))',
                    "{{fate}}",
                )
            ],
            ((0.1, "red"),),
        ),
    ),
)

CHANNEL = Page(
    "channel",
    "Bodywire / Simulated channel",
    "What becomes of the pictures of sender --channel?",
    (
        Panel(
            "SNR",
            "As configured, and as measured on known symbols at the receiver.",
            "dB",
            [
                (f"bodywire_sender_channel_snr_decibels{{{SENDER}}}", "sender {{instance}}"),
                (f"bodywire_receiver_channel_snr_decibels{{{RECEIVER}}}", "{{kind}} {{instance}}"),
            ],
        ),
        Panel(
            "Bandwidth ratio",
            "Channel uses per colour value of a pixel, of the newest picture.",
            "short",
            [
                (f"bodywire_sender_channel_bandwidth_ratio{{{SENDER}}}", "sender {{instance}}"),
                (f"bodywire_receiver_channel_bandwidth_ratio{{{RECEIVER}}}", "receiver {{instance}}"),
            ],
            decimals=3,
        ),
        Panel(
            "Pictures",
            "Encoded, replaced by a newer one, and failed at senders; decoded, replaced and refused at the receiver.",
            "hertz",
            [
                (rate("bodywire_sender_channel_pictures_total", SENDER, "fate"), "sender {{fate}}"),
                (rate("bodywire_receiver_channel_pictures_total", RECEIVER, "fate"), "receiver {{fate}}"),
            ],
            decimals=1,
        ),
        Panel(
            "Channel uses",
            "Complex symbols per second.",
            "hertz",
            [
                (rate("bodywire_sender_channel_uses_total", SENDER), "sent"),
                (rate("bodywire_receiver_channel_uses_total", RECEIVER), "decoded"),
            ],
        ),
    ),
)
