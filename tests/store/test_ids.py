"""Ids that are the same whenever a simulation is played."""

from clento_engine.interface.chaos.virtual.case import drawn
from clento_engine.store.ids import made_from, uuid4, uuid7


def test_ids_drawn_from_the_same_chance_are_the_same_and_rise() -> None:
    made = []
    for _ in range(2):
        with made_from(drawn("ids")):
            made.append([uuid7() for _ in range(100)] + [uuid4()])
    assert made[0] == made[1]
    assert made[0] == sorted(set(made[0]))


def test_ids_are_unlike_any_other_again_afterwards() -> None:
    with made_from(drawn("ids")):
        numbered = uuid7()
    assert numbered.version != 7
    assert (uuid7().version, uuid4().version) == (7, 4)
