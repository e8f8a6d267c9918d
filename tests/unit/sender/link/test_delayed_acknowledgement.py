"""Every second acknowledgement may wait, unless somebody waits for it."""

from sender.link.delayed_acknowledgement import DelayedAcknowledgement


def test_every_second_acknowledgement_may_wait_with_room_for_the_next_frame() -> None:
    delayed = DelayedAcknowledgement()
    waits = [delayed.may_wait(held_back=False, room=1, wanted_soon=False) for _ in range(6)]
    assert waits == [True, False] * 3
    assert not delayed.may_wait(held_back=False, room=0, wanted_soon=False)
    assert not delayed.may_wait(held_back=False, room=1, wanted_soon=True)
    assert delayed.may_wait(held_back=False, room=1, wanted_soon=False)


def test_none_waits_for_a_second_after_a_frame_that_waited_for_the_window() -> None:
    delayed = DelayedAcknowledgement()
    waits = [delayed.may_wait(held_back=number == 0, room=3, wanted_soon=False) for number in range(60)]
    assert not any(waits[:30])
    assert waits[30:] == [True, False] * 15
    delayed.may_wait(held_back=True, room=3, wanted_soon=False)
    delayed.restart()
    assert delayed.may_wait(held_back=False, room=3, wanted_soon=False)
