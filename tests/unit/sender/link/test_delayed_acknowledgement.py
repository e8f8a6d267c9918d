"""Every second acknowledgement may wait, unless somebody waits for it."""

from sender.link.delayed_acknowledgement import DelayedAcknowledgement


def test_every_second_acknowledgement_may_wait() -> None:
    answers = DelayedAcknowledgement()
    waits = [answers.may_wait(held_back=False, room=1, wanted_soon=False) for _ in range(6)]
    assert waits == [True, False] * 3


def test_none_waits_without_room_for_the_next_frame_or_when_it_is_wanted() -> None:
    answers = DelayedAcknowledgement()
    assert not answers.may_wait(held_back=False, room=0, wanted_soon=False)
    assert not answers.may_wait(held_back=False, room=1, wanted_soon=True)
    assert answers.may_wait(held_back=False, room=1, wanted_soon=False)


def test_none_waits_for_a_second_after_a_frame_that_waited_for_the_window() -> None:
    answers = DelayedAcknowledgement()
    waits = [answers.may_wait(held_back=number == 0, room=3, wanted_soon=False) for number in range(60)]
    assert not any(waits[:30])
    assert waits[30:] == [True, False] * 15


def test_restart_forgets_the_stream_before() -> None:
    answers = DelayedAcknowledgement()
    answers.may_wait(held_back=True, room=3, wanted_soon=False)
    answers.restart()
    assert answers.may_wait(held_back=False, room=3, wanted_soon=False)
