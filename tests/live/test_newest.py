"""What is taken is always the newest; what is put is taken, dropped or still there."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from layerscope.live.newest import Newest


@given(st.lists(st.booleans(), max_size=60))
def test_taken_dropped_and_waiting_are_all_that_was_put(steps):
    place, taken, last = Newest(), [], None
    for number, puts in enumerate(steps):
        if puts:
            place.put(number)
            last = number
        elif last is not None:
            taken.append(place.take())
            assert taken[-1] == last
            last = None
    waiting = last is not None
    assert place.put_count == len(taken) + place.dropped + waiting
    place.close()
    assert place.put_count == len(taken) + place.dropped
    assert place.take() is None


def test_a_slow_taker_gets_the_newest():
    place, got = Newest(), []
    thread = threading.Thread(target=lambda: got.append(place.take()))
    place.put("old")
    place.put("new")
    thread.start()
    thread.join()
    assert got == ["new"]
    assert place.dropped == 1


def test_nothing_comes_in_time():
    assert Newest().take(0.001) is None


def test_closing_wakes_who_waits():
    place = Newest()
    thread = threading.Thread(target=place.take)
    thread.start()
    place.close()
    thread.join(20)
    assert not thread.is_alive()
    place.put("late")
    assert place.put_count == place.dropped == 1
