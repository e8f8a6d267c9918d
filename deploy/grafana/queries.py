"""PromQL that several dashboards use. `$sender` and `$receiver` are the instances chosen in Grafana."""

SENDER = 'instance=~"$sender"'
RECEIVER = 'instance=~"$receiver"'
WINDOW = "$__rate_interval"


def rate(metric: str, labels: str, by: str = "") -> str:
    """The sum of the rates of a counter, per second, by some labels."""
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate({metric}{{{labels}}}[{WINDOW}]))"


def quantile(share: float, histogram: str, labels: str, by: str = "") -> str:
    """A quantile of a histogram's values in the window, by some labels."""
    keys = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, keys)})"


def mean(metric: str, labels: str, by: str = "") -> str:
    """The mean of the values of a histogram or summary in the window, by some labels."""
    return f"{rate(f'{metric}_sum', labels, by)} / {rate(f'{metric}_count', labels, by)}"
