"""Counts requests and their durations by route."""

from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.clock import Clock

_FAILED = 500


class RequestMetrics(Protocol):
    """Where requests are counted (`WebMetrics`)."""

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None: ...


class CountedRequests:
    """Counts each HTTP request when its answer has been sent, or its client has gone."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, clock: Clock) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, status = self._clock.monotonic(), _FAILED

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            # Routing has put the route there; its path is the template.
            route = getattr(scope.get("route"), "path", None)
            self._metrics.request(scope["method"], route, status, self._clock.monotonic() - began_s)
