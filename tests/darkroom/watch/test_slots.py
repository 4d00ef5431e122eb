"""Processes that count together. Each slot here is one that a process of its own would take."""

import os
from pathlib import Path

from darkroom.watch.slots import Slot, forget_the_dead, take_slot


def end(slot: Slot) -> None:
    """What the end of its process does."""
    os.close(slot.descriptor)


def test_every_living_process_has_a_slot_of_its_own(tmp_path: Path) -> None:
    slots = [take_slot(tmp_path) for _ in range(3)]

    assert [each.number for each in slots] == [0, 1, 2]
    for each in slots:
        end(each)


def test_a_successor_goes_on_with_what_a_dead_process_counted(tmp_path: Path) -> None:
    first, second = take_slot(tmp_path), take_slot(tmp_path)
    (tmp_path / "counter_0.db").write_text("counted")
    (tmp_path / "gauge_livesum_0.db").write_text("present")
    end(first)

    successor = take_slot(tmp_path)

    assert successor.number == 0
    assert (tmp_path / "counter_0.db").exists()
    assert not (tmp_path / "gauge_livesum_0.db").exists()
    end(second)
    end(successor)


def test_the_first_process_begins_anew(tmp_path: Path) -> None:
    end(take_slot(tmp_path))
    (tmp_path / "counter_0.db").write_text("counted")

    first = take_slot(tmp_path)

    assert not (tmp_path / "counter_0.db").exists()
    end(first)


def test_only_the_living_say_what_is_present(tmp_path: Path) -> None:
    living, dead = take_slot(tmp_path), take_slot(tmp_path)
    for each in (living, dead):
        (tmp_path / f"gauge_livesum_{each.number}.db").write_text("present")
    end(dead)

    forget_the_dead(tmp_path)

    assert [each.name for each in tmp_path.glob("*.db")] == ["gauge_livesum_0.db"]
    end(living)
