from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from model.caption import join_pieces, phrase_piece, whole_piece


@st.composite
def captions(draw):
    """A prefix, and phrases of unlike length asked in pictures of unlike number."""
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    batch = draw(st.integers(1, 3))
    row = st.integers(-1, len(lengths) - 1)
    count = draw(st.integers(1, 4))
    asked = [[draw(row) for _ in range(count)] for _ in range(batch)]
    prefix = [draw(st.integers(0, 2)) for _ in range(batch)]
    return lengths, torch.tensor(asked), prefix


def build(lengths, asked, prefix):
    width = max(*lengths, 1)
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    number = torch.arange(len(lengths))[:, None] * 10 + torch.arange(width)
    states = number[..., None].float()
    before = torch.arange(2)[None] < torch.tensor(prefix)[:, None]
    first = whole_piece(torch.full((len(asked), 2, 1), -5.0), before, block=0)
    second = phrase_piece(states, mask, words=mask, asked=asked, first_block=1)
    return join_pieces([first, second])


@given(captions())
def test_every_word_is_there_once_and_knows_its_phrase(case):
    lengths, asked, prefix = case

    caption = build(lengths, asked, prefix)

    for picture, rows in enumerate(asked.tolist()):
        real = caption.mask[picture]
        want = [-5.0] * prefix[picture]
        owners = [-1] * prefix[picture]
        places = list(range(prefix[picture]))
        for column, row in enumerate(rows):
            length = lengths[row] if row >= 0 else 0
            want += [row * 10.0 + i for i in range(length)]
            owners += [column] * length
            places += range(length)
        assert caption.states[picture, real, 0].tolist() == want
        assert caption.owner[picture, real].tolist() == owners
        assert caption.position[picture, real].tolist() == places
        assert (caption.owner[picture, ~real] == -1).all()


@given(captions())
def test_padding_is_at_the_end_and_no_longer_than_needed(case):
    caption = build(*case)

    lengths = caption.mask.sum(1)
    assert caption.mask.shape[1] == max(1, int(lengths.max()))
    for row, length in zip(caption.mask, lengths, strict=True):
        assert row[:length].all()


@given(captions())
def test_words_of_two_phrases_are_never_in_one_sub_sentence(case):
    caption = build(*case)

    for mask, block, owner in zip(
        caption.mask, caption.block, caption.owner, strict=True
    ):
        together = block[mask][:, None] == block[mask][None, :]
        same_owner = owner[mask][:, None] == owner[mask][None, :]
        assert torch.equal(together, same_owner)


@given(captions())
def test_a_prefix_chooses_no_place(case):
    caption = build(*case)

    assert not (caption.selects & (caption.owner < 0)).any()
