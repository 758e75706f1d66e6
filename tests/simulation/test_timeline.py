from autoexp.simulation.timeline import Timeline


def test_events_happen_in_the_order_of_their_times_and_may_plan_others() -> None:
    timeline, seen = Timeline(100.0), list[tuple[str, float]]()

    def first() -> None:
        seen.append(("first", timeline.now))
        timeline.after(1.0, lambda: seen.append(("planned by it", timeline.now)))

    timeline.after(5.0, lambda: seen.append(("last", timeline.now)))
    timeline.after(2.0, first)
    timeline.after(2.0, lambda: seen.append(("second", timeline.now)))
    timeline.advance(200.0)

    assert seen == [("first", 102.0), ("second", 102.0), ("planned by it", 103.0), ("last", 105.0)]
    assert timeline.now == 200.0


def test_a_step_goes_no_further_than_it_may() -> None:
    timeline, seen = Timeline(0.0), list[float]()
    timeline.after(5.0, lambda: seen.append(timeline.now))

    timeline.step(3.0)
    assert (timeline.now, seen) == (3.0, [])
    timeline.step(9.0)
    assert (timeline.now, seen) == (5.0, [5.0])
