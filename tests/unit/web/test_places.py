"""Which connection of the web server ends when there are too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.shares import choose_to_end
from dicom_node.web.places import Places, Stage

ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"])
NUMBERS = st.integers(0, 9)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NUMBERS, ADDRESSES),
        st.tuples(st.just("move"), NUMBERS, st.sampled_from(Stage)),
        st.tuples(st.just("free"), NUMBERS, st.none()),
    )
)


@given(STEPS, ADDRESSES)
def test_who_ends_is_whom_a_look_at_every_place_would_choose(
    steps: list[tuple[str, int, object]], newcomer: str
) -> None:
    places: Places[int] = Places()
    held: dict[int, tuple[str, Stage, int]] = {}
    for at, (step, one, what) in enumerate(steps):
        if step == "put" and one not in held:
            places.put(one, str(what), stage=Stage.WAITING)
            held[one] = (str(what), Stage.WAITING, at)
        elif step == "move" and isinstance(what, Stage):
            places.move(one, what)
            if one in held and held[one][1] is not what:
                held[one] = (held[one][0], what, at)
        elif step == "free":
            places.free(one)
            held.pop(one, None)

    chosen = places.choose_to_end(newcomer=newcomer)

    waiting = [one for one in held if held[one][1] is Stage.WAITING]
    assert len(places) == len(held)
    if waiting:
        assert chosen in waiting
        counted, stages = waiting, {Stage.WAITING}
    else:
        counted, stages = list(held), set(Stage)
        known = choose_to_end(
            held,
            lambda one: held[one][0],
            rank=lambda one: (held[one][1] is Stage.ANSWERING, held[one][2]),
            newcomer=newcomer,
        )
        assert (chosen is None) == (known is None)
    if chosen is not None:
        counts = _by_holder(counted, held)
        own = counts[_holder(held[chosen][0])]
        assert len(own) == max(map(len, counts.values()))
        assert chosen == min(
            own, key=lambda one: (held[one][1] is Stage.ANSWERING, held[one][2])
        )
        assert held[chosen][1] in stages


def _holder(address: str) -> str:
    return "2001:db8::" if ":" in address else address


def _by_holder(
    ones: list[int], held: dict[int, tuple[str, Stage, int]]
) -> dict[str, list[int]]:
    counts: dict[str, list[int]] = {}
    for one in ones:
        counts.setdefault(_holder(held[one][0]), []).append(one)
    return counts
