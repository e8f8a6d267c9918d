"""The thread makes the newest call, and whoever puts one never waits."""

import threading
from concurrent.futures import ThreadPoolExecutor

from common.newest_calls import NewestCalls

_LONG_S = 60.0


def test_newest_call_replaces_the_one_that_waits_under_its_key() -> None:
    begun, may_end, made = threading.Event(), threading.Event(), list[str]()
    calls = NewestCalls()

    def call(name: str) -> None:
        begun.set()
        assert may_end.wait(_LONG_S)
        made.append(name)

    with ThreadPoolExecutor(1) as thread:
        assert not calls.put("a", lambda: call("first"), thread.submit)
        assert begun.wait(_LONG_S)
        # The thread is busy: the second waits, and the third takes its place.
        assert not calls.put("a", lambda: call("second"), thread.submit)
        assert not calls.put("b", lambda: call("other"), thread.submit)
        assert calls.put("a", lambda: call("third"), thread.submit)
        may_end.set()
    assert made == ["first", "third", "other"]


def test_dropped_calls_are_not_made() -> None:
    made, submitted, calls = list[int](), list[object](), NewestCalls()
    calls.put("a", lambda: made.append(1), submitted.append)
    calls.drop()
    calls.put("a", lambda: made.append(2), submitted.append)
    for run in submitted:
        assert callable(run)
        run()
    assert made == [2]
