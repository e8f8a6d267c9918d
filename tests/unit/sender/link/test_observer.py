"""`Observers` passes every notification on to each observer."""

import inspect

import pytest

from sender.link.observer import LinkObserver, Observers

HOOKS = [name for name, _ in inspect.getmembers(LinkObserver, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_observer_is_notified_in_order(hook: str) -> None:
    calls: list[tuple[int, tuple[object, ...], dict[str, object]]] = []

    def observer(number: int) -> LinkObserver:
        observer = LinkObserver()
        setattr(observer, hook, lambda *arguments, **named: calls.append((number, arguments, named)))
        return observer

    parameters = inspect.signature(getattr(LinkObserver, hook)).parameters.values()
    arguments = [object() for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD][1:]
    named = {parameter.name: object() for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    getattr(Observers(observer(1), observer(2)), hook)(*arguments, **named)
    assert calls == [(1, tuple(arguments), named), (2, tuple(arguments), named)]


def test_hooks_are_found() -> None:
    assert {"sent", "acknowledged", "probed", "one_way_delay", "ended"} <= set(HOOKS)
