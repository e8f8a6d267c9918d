"""The thread takes the newest input, and never makes its caller wait."""

import threading

from sender.jscc.worker import NewestWorker

_LONG_S = 60.0


def test_newest_input_replaces_the_one_that_waits() -> None:
    begun, may_end, done = threading.Event(), threading.Event(), threading.Event()

    def work(number: int) -> int:
        begun.set()
        assert may_end.wait(_LONG_S)
        if number == 3:
            done.set()
        return number

    worker = NewestWorker(work, "test")
    assert not worker.put(1)
    assert begun.wait(_LONG_S)
    # It is busy with 1: 2 waits, and 3 takes its place.
    assert not worker.put(2)
    assert worker.put(3)
    assert worker.take() == []
    may_end.set()
    assert done.wait(_LONG_S)
    worker.close()
    assert worker.take() == [1, 3]
    assert worker.take() == []


def test_inputs_without_a_result_have_none() -> None:
    seen = threading.Event()
    worker = NewestWorker[int, int](lambda _: seen.set(), "test")
    worker.put(1)
    assert seen.wait(_LONG_S)
    worker.close()
    worker.close()
    assert worker.take() == []


def test_closing_drops_what_waits() -> None:
    begun, may_end, handled = threading.Event(), threading.Event(), []

    def work(number: int) -> None:
        handled.append(number)
        begun.set()
        assert may_end.wait(_LONG_S)

    worker = NewestWorker[int, int](work, "test")
    worker.put(1)
    assert begun.wait(_LONG_S)
    worker.put(2)
    closing = threading.Thread(target=worker.close)
    closing.start()
    may_end.set()
    closing.join(_LONG_S)
    assert not closing.is_alive() and 1 in handled
