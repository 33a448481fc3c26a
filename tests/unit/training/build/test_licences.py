from __future__ import annotations

import pytest

from tests.builders.tiny_dataset import make_spec
from training.build.licences import attribution_text, check_licences, is_free
from training.errors import ConfigError

FREE = make_spec("open")
CLOSED = make_spec("closed", commercial=False, licence_id="CC-BY-NC-4.0")


def test_data_that_restricts_use_needs_a_word() -> None:
    with pytest.raises(ConfigError) as caught:
        check_licences([FREE, CLOSED], allowed=frozenset())

    text = str(caught.value)
    assert "closed: CC-BY-NC-4.0 (no commercial use)" in text
    assert "https://example.org/terms" in text
    assert "open:" not in text


def test_an_accepted_licence_lets_its_data_in() -> None:
    check_licences([FREE, CLOSED], allowed=frozenset({"CC-BY-NC-4.0"}))

    assert is_free(FREE.licence)
    assert not is_free(CLOSED.licence)


def test_share_alike_is_a_term_that_somebody_accepts() -> None:
    licence = FREE.licence.model_copy(
        update={"id": "CC-BY-SA-4.0", "share_alike": True}
    )
    shared = make_spec("shared", licence=licence)

    assert not is_free(licence)
    with pytest.raises(ConfigError, match=r"shared: CC-BY-SA-4\.0 \(share alike\)"):
        check_licences([FREE, shared], allowed=frozenset())
    check_licences([FREE, shared], allowed=frozenset({"CC-BY-SA-4.0"}))


def test_everybody_is_named_with_the_limits() -> None:
    text = attribution_text([FREE, CLOSED])

    assert "The people of open" in text
    assert "Licence: CC-BY-NC-4.0" in text
    assert "Limits: no commercial use" in text
    assert text.index("closed") < text.index("## Open")
