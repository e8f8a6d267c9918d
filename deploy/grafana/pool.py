"""The dashboard of a pool of replicas: what the fronts wait for, and what Ray and Serve say."""

from deploy.grafana.panels import Page, Panel
from deploy.grafana.queries import RECEIVER, WINDOW, mean, quantile, rate

_WAITED, _SERVED = "bodywire_receiver_engine_queue_seconds", "bodywire_receiver_engine_service_seconds"
_BATCH = "bodywire_receiver_engine_batch_people"
_BUSY = f'{RECEIVER}, reason="busy"'
# Ray's own, of the pool's application and of all nodes.
_SERVE = 'application="bodywire"'
_IN_REPLICA = "ray_serve_deployment_processing_latency_ms"
_ROUTED = "ray_serve_request_router_fulfillment_time_ms"
_REPLICA_MEMORY = 'ray_component_rss_bytes{Component=~"ray::ServeReplica:bodywire.*"}'
_LATE_S, _TOO_LATE_S = (0.1, "orange"), (0.5, "red")

POOL = Page(
    "pool",
    "Bodywire / Pool",
    "Is the pool of replicas large enough, and what do its people wait for?",
    (
        Panel(
            "People in the queues",
            "People that wait for a replica, over all fronts.",
            "short",
            [(f"sum(bodywire_receiver_queued_people{{{RECEIVER}}})", "people")],
            ((8, "orange"), (32, "red")),
            kind="number",
            width=6,
        ),
        Panel(
            "Replicas",
            "Replicas that take batches, as the front sees it that sees the fewest. An alert fires at 0.",
            "short",
            [(f"min(bodywire_receiver_engine_replicas{{{RECEIVER}}})", "replicas")],
            ((1, "green"),),
            first="red",
            kind="number",
            width=6,
        ),
        Panel(
            "People per second",
            "Reconstructed by the pool, over all fronts.",
            "short",
            [(rate(f"{_SERVED}_count", RECEIVER), "people")],
            kind="number",
            width=6,
            decimals=1,
        ),
        Panel(
            "Sessions refused as busy",
            "In an hour, because the pool had no time for another live session.",
            "none",
            [(f"sum(increase(bodywire_receiver_refused_total{{{_BUSY}}}[1h]))", "refused")],
            ((1, "orange"), (20, "red")),
            kind="number",
            width=6,
        ),
        Panel(
            "Time in the queue",
            "From a frame's request to the batch that takes it.",
            "s",
            [(quantile(share, _WAITED, RECEIVER), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99)],
            (_LATE_S, _TOO_LATE_S),
        ),
        Panel(
            "Time in service",
            "From the batch to the result: networks, surfaces, transport, and retries where a replica was lost.",
            "s",
            [(quantile(share, _SERVED, RECEIVER), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99)],
            (_LATE_S, _TOO_LATE_S),
        ),
        Panel(
            "Length of the queue",
            "People that wait, at each front. Fronts do not know of each other's.",
            "short",
            [(f"bodywire_receiver_queued_people{{{RECEIVER}}}", "{{instance}}")],
            ((8, "orange"), (32, "red")),
        ),
        Panel(
            "People of a batch",
            "Larger batches mean that people wait for replicas; about 150 ms of a replica's work is the limit.",
            "short",
            [
                (mean(_BATCH, RECEIVER), "mean"),
                *((quantile(share, _BATCH, RECEIVER), f"p{share * 100:.0f}") for share in (0.5, 0.95)),
            ],
        ),
        Panel(
            "Replicas by front",
            "As each front sees them.",
            "short",
            [(f"bodywire_receiver_engine_replicas{{{RECEIVER}}}", "{{instance}}")],
        ),
        Panel(
            "Batches given to another replica",
            "Per second, because theirs was lost; and frames that were dropped as late.",
            "short",
            [
                (rate("bodywire_receiver_engine_retries_total", RECEIVER), "retries"),
                (rate("bodywire_receiver_frames_total", f'{RECEIVER}, fate="late"'), "late frames"),
            ],
            ((0.01, "orange"),),
            decimals=2,
        ),
        Panel(
            "Serve: replicas",
            "Healthy ones, and those that Serve wants. An alert fires when they differ for ten minutes.",
            "short",
            [
                (f"sum(ray_serve_deployment_replica_healthy{{{_SERVE}}})", "healthy"),
                (f"max(ray_serve_autoscaling_target_replicas{{{_SERVE}}})", "wanted"),
            ],
        ),
        Panel(
            "Serve: batches in hand",
            "Of each replica, two at most; and those of the fronts for which none has room.",
            "short",
            [
                (f"ray_serve_replica_processing_queries{{{_SERVE}}}", "replica {{replica}}"),
                (f"sum(ray_serve_deployment_queued_queries{{{_SERVE}}})", "queued at the fronts"),
            ],
        ),
        Panel(
            "Serve: time of a batch in its replica",
            "Without transport. What the time in service has more is the way to the replica and back.",
            "ms",
            [(quantile(share, _IN_REPLICA, _SERVE), f"p{share * 100:.0f}") for share in (0.5, 0.95)],
            ((150, "orange"), (500, "red")),
        ),
        Panel(
            "Serve: time until a replica accepts a batch",
            "Serve's choice among the replicas, with the question whether one has room.",
            "ms",
            [(quantile(share, _ROUTED, _SERVE), f"p{share * 100:.0f}") for share in (0.5, 0.95)],
            ((20, "orange"), (100, "red")),
        ),
        Panel(
            "Serve: batches per second by replica",
            "Replicas of equal machines should have equal shares.",
            "reqps",
            [
                (
                    f"sum by (replica) (rate(ray_serve_deployment_request_counter_total{{{_SERVE}}}[{WINDOW}]))",
                    "{{replica}}",
                )
            ],
            kind="stack",
        ),
        Panel(
            "Ray: memory of the replicas",
            "Resident, of all replicas of a node.",
            "bytes",
            [(f"sum by (ip) ({_REPLICA_MEMORY})", "{{ip}}")],
        ),
        Panel(
            "Ray: CPU of the nodes",
            "Share of each node's cores in use; fronts are nodes too.",
            "percent",
            [("ray_node_cpu_utilization", "{{instance}}")],
            ((80, "orange"), (95, "red")),
            limits=(0, 100),
        ),
        Panel(
            "Ray: shared objects",
            "Colours and textures of people, as a share of what the store of a node can hold.",
            "percentunit",
            [
                (
                    "ray_object_store_used_memory / (ray_object_store_used_memory + ray_object_store_available_memory)",
                    "{{instance}}",
                )
            ],
            ((0.7, "orange"), (0.9, "red")),
            limits=(0, 1),
        ),
    ),
)
