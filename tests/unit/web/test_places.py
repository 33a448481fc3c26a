"""Which connection of the web server ends when there are too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.shares import choose_to_end
from dicom_node.web.places import Places, Stage

ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"])
NUMBERS = st.integers(0, 20)
FEW = 6
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NUMBERS, ADDRESSES),
        st.tuples(st.just("move"), NUMBERS, st.sampled_from(Stage)),
        st.tuples(st.just("free"), NUMBERS, st.none()),
    ),
    max_size=60,
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
    totals = {holder: len(own) for holder, own in _by_holder(list(held), held).items()}
    holds = totals.get(_holder(newcomer), 0)
    if waiting:
        counts = _by_holder(waiting, held)
        if chosen is None:
            assert holds > FEW
            assert _holder(newcomer) not in counts
            return
        assert chosen in waiting
        its = _holder(held[chosen][0])
        if its != _holder(newcomer):  # who holds many takes from itself alone
            assert holds <= max(FEW, totals[its])
            assert len(counts[its]) == max(map(len, counts.values()))
        assert chosen == min(counts[its], key=lambda one: held[one][2])
        return
    known = choose_to_end(
        held,
        lambda one: held[one][0],
        rank=lambda one: (held[one][1] is Stage.ANSWERING, held[one][2]),
        newcomer=newcomer,
    )
    assert (chosen is None) == (known is None)
    if chosen is not None:
        counts = _by_holder(list(held), held)
        own = counts[_holder(held[chosen][0])]
        assert len(own) == max(map(len, counts.values()))
        assert chosen == min(
            own, key=lambda one: (held[one][1] is Stage.ANSWERING, held[one][2])
        )


def test_a_flood_does_not_end_what_another_has_just_opened() -> None:
    places: Places[str] = Places()
    for number in range(8):
        places.put(f"flood {number}", "10.0.0.1", stage=Stage.RECEIVING)
    places.put("ward", "10.0.0.2", stage=Stage.WAITING)

    assert places.choose_to_end(newcomer="10.0.0.1") is None
    assert places.choose_to_end(newcomer="10.0.0.3") == "ward"


def _holder(address: str) -> str:
    return "2001:db8::" if ":" in address else address


def _by_holder(
    ones: list[int], held: dict[int, tuple[str, Stage, int]]
) -> dict[str, list[int]]:
    counts: dict[str, list[int]] = {}
    for one in ones:
        counts.setdefault(_holder(held[one][0]), []).append(one)
    return counts
