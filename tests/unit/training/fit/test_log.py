from __future__ import annotations

import json

import pytest
import torch

from training.errors import ConfigError
from training.fit.log import METRICS_FILE, MetricLog


def lines(folder) -> list[dict[str, float]]:
    text = (folder / METRICS_FILE).read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_holds_the_means_since_the_one_before(tmp_path):
    log = MetricLog(tmp_path, step=0)
    log.add({"total": torch.tensor(1.0), "core.boxes": torch.tensor(4.0)})
    log.add({"total": torch.tensor(3.0)})
    log.write(2, learning_rate=0.1)
    log.add({"total": torch.tensor(7.0)})
    log.write(3)
    log.close()

    first, second = lines(tmp_path)
    assert first.pop("seconds") >= 0
    assert first == {"step": 2, "total": 2.0, "core.boxes": 4.0, "learning_rate": 0.1}
    assert second["total"] == 7.0


def test_lines_that_a_killed_run_wrote_after_its_save_are_taken_out(tmp_path):
    log = MetricLog(tmp_path, step=0)
    for step in (2, 4, 6):
        log.add({"total": torch.tensor(float(step))})
        log.write(step)
    log.close()
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 8, "tot')

    MetricLog(tmp_path, step=4).close()

    assert [line["step"] for line in lines(tmp_path)] == [2, 4]


def test_a_line_that_was_begun_goes_on_after_a_restart(tmp_path):
    log = MetricLog(tmp_path, step=0)
    log.add({"total": torch.tensor(1.0)})
    state = log.state_dict()
    log.close()

    again = MetricLog(tmp_path, step=1)
    again.load_state_dict(state)
    again.add({"total": torch.tensor(2.0)})

    assert again.write(2)["total"] == 1.5
    again.close()


def test_tensorboard_shows_the_same_numbers_or_its_absence_is_said(tmp_path):
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="tensorboard"):
            MetricLog(tmp_path, step=0, tensorboard=True)
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricLog(tmp_path, step=0, tensorboard=True)
    log.add({"total": torch.tensor(2.5)})
    log.write(7)
    log.close()

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (event,) = events.Scalars("total")
    assert (event.step, event.value) == (7, 2.5)
