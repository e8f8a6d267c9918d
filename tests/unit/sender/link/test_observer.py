"""Whoever watches the link together with others hears all that one alone would."""

import inspect

import pytest

from sender.link.observer import LinkObserver, Observers

HOOKS = [name for name, _ in inspect.getmembers(LinkObserver, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_observer_hears_everything_in_their_order(hook: str) -> None:
    heard: list[tuple[int, tuple[object, ...], dict[str, object]]] = []

    def listener(number: int) -> LinkObserver:
        observer = LinkObserver()
        setattr(observer, hook, lambda *measurement, **named: heard.append((number, measurement, named)))
        return observer

    signature = inspect.signature(getattr(LinkObserver, hook))
    measurement = [object() for one in signature.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD][1:]
    named = {one.name: object() for one in signature.parameters.values() if one.kind is one.KEYWORD_ONLY}
    getattr(Observers(listener(1), listener(2)), hook)(*measurement, **named)
    assert heard == [(1, tuple(measurement), named), (2, tuple(measurement), named)]


def test_there_is_something_to_hear() -> None:
    assert {"sent", "acknowledged", "probed", "one_way_delay", "ended"} <= set(HOOKS)
