from sender.congestion.pacing import ByteBudget


def test_a_window_has_its_bytes_and_no_more() -> None:
    budget = ByteBudget(8000.0, 1000.0)
    assert budget.left(0.0) == 1000
    budget.spend(600, 0.0)
    budget.spend(300, 500.0)
    assert budget.left(999.0) == 100
    assert budget.left(1000.0) == 700
    assert budget.left(1500.0) == 1000
