from random import Random

from autoexp.simulation.weather import ANSWERS, DAY_S, FATES, LONGEST_OUTAGE_S, OUTAGES, REPLIES, Weather

WEATHER = Weather("seed", 0.0, 30 * DAY_S)


def test_all_that_can_go_wrong_does() -> None:
    fair = next(at for at in range(0, 30 * 86400, 600) if not WEATHER.is_out(float(at)))
    chance = Random(1)

    assert {WEATHER.reply(fair, chance) for _ in range(2000)} == {"taken", *REPLIES}
    assert {WEATHER.answer(fair) for _ in range(2000)} == {"honest", *ANSWERS}
    assert {WEATHER.fate(fair, 8 * DAY_S, chance)[0] for _ in range(2000)} == {"time limit", *FATES}


def test_while_the_scheduler_is_down_it_says_nothing() -> None:
    begin, end = WEATHER.outages[0]
    chance = Random(1)

    assert len(WEATHER.outages) == OUTAGES
    assert 0 < end - begin <= LONGEST_OUTAGE_S
    assert {WEATHER.answer((begin + end) / 2) for _ in range(100)} == {"none"}
    assert {WEATHER.reply((begin + end) / 2, chance) for _ in range(100)} == {"refused", "lost"}


def test_once_it_is_calm_nothing_goes_wrong() -> None:
    chance = Random(1)

    assert {WEATHER.reply(31 * DAY_S, chance) for _ in range(500)} == {"taken"}
    assert {WEATHER.answer(31 * DAY_S) for _ in range(500)} == {"honest"}
    assert {WEATHER.fate(31 * DAY_S, 5.0, chance) for _ in range(500)} == {("time limit", 5.0)}


def test_the_same_seed_is_the_same_weather() -> None:
    assert Weather("seed", 0.0, 30 * DAY_S).outages == WEATHER.outages
    assert Weather("other", 0.0, 30 * DAY_S).outages != WEATHER.outages
