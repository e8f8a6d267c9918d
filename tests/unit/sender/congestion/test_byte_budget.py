from sender.congestion.byte_budget import ByteBudget


def test_a_window_has_its_bytes_and_no_more() -> None:
    budget = ByteBudget(8000.0, 1000.0)
    assert budget.left(0.0) == 1000
    budget.spend(600, 0.0)
    budget.spend(300, 500.0)
    assert budget.left(999.0) == 100
    assert budget.left(1000.0) == 700
    assert budget.left(1500.0) == 1000


def test_waiting_ends_when_enough_has_left_the_window() -> None:
    budget = ByteBudget(8000.0, 1000.0)
    budget.spend(600, 0.0)
    budget.spend(300, 500.0)
    assert budget.wait_ms(100, 600.0) == 0.0
    assert budget.wait_ms(400, 600.0) == 400.0
    assert budget.wait_ms(900, 600.0) == 900.0
    # More than the window holds leaves as soon as the window is empty.
    assert budget.wait_ms(5000, 600.0) == 900.0
