from __future__ import annotations

import argparse
from importlib import import_module

import pytest

from training.cli import COMMANDS, main


def test_without_a_command_all_of_them_are_listed(capsys):
    main([])

    out = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name}" in out
        assert command.help in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_arguments_and_its_work(name):
    command = COMMANDS[name]
    parser = argparse.ArgumentParser()

    for place in (command.arguments, command.run):
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))
    module, _, function = command.arguments.partition(":")
    getattr(import_module(module), function)(parser)


def test_an_unknown_command_is_a_mistake_with_the_list(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["dance"])

    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "dance" in err
    assert "evaluate" in err


def test_what_a_person_can_mend_is_said_without_a_traceback(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(tmp_path / "no.toml"), "--out", str(tmp_path / "run")])

    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "no.toml" in err
    assert "Traceback" not in err
