"""The dashboards of the page with its users, and of the machine."""

from deploy.grafana.panels import Page, Panel
from deploy.grafana.queries import RECEIVER, WINDOW, quantile, rate

_SERVER_ERRORS = f'{RECEIVER}, status=~"5.."'
_BOTH = 'instance=~"$sender|$receiver"'
_DISK_FREE = f"bodywire_receiver_disk_free_bytes{{{RECEIVER}}}"
_FREE_SHARE = f"{_DISK_FREE} / bodywire_receiver_disk_size_bytes{{{RECEIVER}}}"

WEB = Page(
    "web",
    "Bodywire / Page and users",
    "Who uses the page, how fast is it, and what fails?",
    (
        Panel(
            "Watchers",
            "Browsers that watch the live view.",
            "short",
            [(f"sum(bodywire_web_watchers{{{RECEIVER}}})", "watchers")],
            kind="number",
            width=6,
        ),
        Panel(
            "Accounts",
            "Accounts that exist.",
            "short",
            [(f"sum(bodywire_web_accounts{{{RECEIVER}}})", "accounts")],
            kind="number",
            width=6,
        ),
        Panel(
            "Errors of the server",
            "Requests per second that were answered with 5xx. There should be none.",
            "reqps",
            [(f"{rate('bodywire_web_requests_total', _SERVER_ERRORS)} or vector(0)", "5xx")],
            ((0.01, "red"),),
            kind="number",
            width=6,
            decimals=2,
        ),
        Panel(
            "Upload to model, 95th percentile",
            "Of the uploads that became a model.",
            "s",
            [(quantile(0.95, "bodywire_web_upload_seconds", f'{RECEIVER}, outcome="stored"'), "p95")],
            ((2, "orange"), (3.5, "red")),
            kind="number",
            width=6,
        ),
        Panel(
            "Requests by status",
            "Answers of the HTTP server.",
            "reqps",
            [(rate("bodywire_web_requests_total", RECEIVER, "status"), "{{status}}")],
            kind="stack",
        ),
        Panel(
            "Time of a request by route, 95th percentile",
            "From the headers of a request to the end of its answer.",
            "s",
            [(quantile(0.95, "bodywire_web_request_seconds", RECEIVER, "route"), "{{route}}")],
            ((2, "orange"), (5, "red")),
        ),
        Panel(
            "Frames of the live view",
            "Sent to browsers, and skipped because a browser was too slow for them.",
            "hertz",
            [
                (rate("bodywire_web_frames_shown_total", RECEIVER), "shown"),
                (rate("bodywire_web_frames_skipped_total", RECEIVER), "skipped"),
            ],
        ),
        Panel(
            "Traffic of the live view",
            "Bytes of frames and textures sent to all browsers.",
            "bps",
            [
                (f"8 * {rate('bodywire_web_frame_bytes_total', RECEIVER)}", "frames"),
                (f"8 * {rate('bodywire_web_texture_bytes_total', RECEIVER)}", "textures"),
            ],
        ),
        Panel(
            "Uploads by outcome",
            "What became of uploaded pictures.",
            "reqps",
            [(rate("bodywire_web_upload_seconds_count", RECEIVER, "outcome"), "{{outcome}}")],
            kind="stack",
        ),
        Panel(
            "Upload by stage, 95th percentile",
            "Time of each stage of an upload.",
            "s",
            [(quantile(0.95, "bodywire_web_upload_stage_seconds", RECEIVER, "stage"), "{{stage}}")],
            ((1, "orange"), (2, "red")),
        ),
        Panel(
            "Pictures in the sender process",
            "Pictures by what became of them between upload and files.",
            "reqps",
            [(rate("bodywire_receiver_pictures_total", RECEIVER, "fate"), "{{fate}}")],
            kind="stack",
        ),
        Panel(
            "From a picture to its meshes, 95th percentile",
            "Sender process, link and engine, without upload and files.",
            "s",
            [(quantile(0.95, "bodywire_receiver_picture_seconds", RECEIVER), "p95")],
            ((1.5, "orange"), (3, "red")),
        ),
        Panel(
            "Ends of sender processes",
            "Processes for pictures and cameras that ended by themselves within an hour; they are started again.",
            "none",
            [(f"sum(increase(bodywire_receiver_sender_process_ends_total{{{RECEIVER}}}[1h]))", "ended")],
            ((1, "orange"),),
        ),
        Panel(
            "Attempts to sign in",
            "By outcome; many wrong ones are somebody who guesses passwords.",
            "reqps",
            [(rate("bodywire_web_sign_ins_total", RECEIVER, "outcome"), "{{outcome}}")],
            kind="stack",
        ),
        Panel(
            "Share of skipped frames",
            "Of the frames meant for browsers.",
            "percentunit",
            [
                (
                    f"{rate('bodywire_web_frames_skipped_total', RECEIVER)} / "
                    f"({rate('bodywire_web_frames_skipped_total', RECEIVER)} + "
                    f"{rate('bodywire_web_frames_shown_total', RECEIVER)})",
                    "skipped",
                )
            ],
            ((0.5, "orange"),),
            limits=(0, 1),
        ),
    ),
)

MACHINE = Page(
    "machine",
    "Bodywire / Machine",
    "What do the daemons take of their machines?",
    (
        Panel(
            "Daemons up",
            "Share of the scraped daemons that answer.",
            "percentunit",
            [(f"avg(up{{{_BOTH}}})", "up")],
            ((0.5, "orange"), (1, "green")),
            first="red",
            kind="number",
            limits=(0, 1),
            width=8,
        ),
        Panel(
            "Room on the receiver's disk",
            "What the receiver may still write to the disk of its output.",
            "bytes",
            [(f"min({_DISK_FREE})", "free")],
            ((5e9, "orange"), (20e9, "green")),
            first="red",
            kind="number",
            width=8,
        ),
        Panel(
            "Youngest daemon",
            "Time since the last start of a daemon; a value that keeps falling back is a daemon that crashes.",
            "s",
            [(f"min(time() - process_start_time_seconds{{{_BOTH}}})", "age")],
            ((300, "green"),),
            first="orange",
            kind="number",
            width=8,
        ),
        Panel(
            "CPU",
            "Cores that each daemon uses.",
            "short",
            [(f"rate(process_cpu_seconds_total{{{_BOTH}}}[{WINDOW}])", "{{job}} {{instance}}")],
            decimals=2,
        ),
        Panel(
            "Memory",
            "Resident memory of each daemon; one that keeps rising is a leak.",
            "bytes",
            [(f"process_resident_memory_bytes{{{_BOTH}}}", "{{job}} {{instance}}")],
            ((2.5e9, "orange"), (3.5e9, "red")),
        ),
        Panel(
            "Disk",
            "Free share of the disk of the receiver's output. An alert fires below 10 %.",
            "percentunit",
            [(_FREE_SHARE, "{{instance}}")],
            ((0.1, "orange"), (0.2, "green")),
            first="red",
            limits=(0, 1),
        ),
        Panel(
            "Open files",
            "Share of the file descriptors that each daemon may have.",
            "percentunit",
            [(f"process_open_fds{{{_BOTH}}} / process_max_fds{{{_BOTH}}}", "{{job}} {{instance}}")],
            ((0.5, "orange"), (0.8, "red")),
            limits=(0, 1),
        ),
    ),
)
