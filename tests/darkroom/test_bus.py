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
