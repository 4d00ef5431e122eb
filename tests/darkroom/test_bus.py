"""One broker, two spellings of its address."""

import pytest

from darkroom import bus
from darkroom.errors import SettingsError
from darkroom.settings import Settings


@pytest.mark.parametrize(
    ("url", "for_celery"),
    [
        ("redis://:pw@broker:6379/2", "redis://:pw@broker:6379/2"),
        ("sentinel://broker:26379", "sentinel://broker:26379"),
        ("unix://:pw@/run/b.sock", "redis+socket://:pw@/run/b.sock?virtual_host=0"),
        ("unix:///run/b.sock?db=3", "redis+socket:///run/b.sock?virtual_host=3"),
    ],
)
def test_celery_gets_the_address_in_its_own_spelling(url: str, for_celery: str) -> None:
    assert bus.celery_url(Settings(redis_url=url)) == for_celery


def test_no_broker_is_a_fault_that_names_the_ways_out() -> None:
    with pytest.raises(SettingsError, match=r"DARKROOM_REDIS_URL.*`darkroom up`"):
        bus.celery_url(Settings())


def test_a_sign_of_life_tells_slots_and_engines() -> None:
    some = bus.Hand(name="host:7:ab", slots=4, engines=frozenset({"openai", "builtin"}))
    every = bus.Hand(name="host:8:cd", slots=16)

    assert [bus.Hand.read(each.entry) for each in (some, every)] == [some, every]
    # As a release that knew no engines reads and writes them.
    assert some.entry.partition("@")[0] == "4"
    assert bus.Hand.read("16@host:9:ef").serves("comfyui")


def test_an_engines_window_follows_from_those_that_serve_it() -> None:
    staff = bus.Staff(
        (
            bus.Hand(name="a", slots=40, engines=frozenset({"openai"})),
            bus.Hand(name="b", slots=16, engines=frozenset({"openai", "builtin"})),
        )
    )

    assert [staff.slots(each) for each in ("openai", "builtin", "comfyui")] == [56, 16, 0]
    assert [staff.window(each) for each in ("openai", "builtin", "comfyui")] == [84, 24, 8]
    assert staff.unserved(["builtin", "comfyui"]) == ["comfyui"]
