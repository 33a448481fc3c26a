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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id: mine\ncolour: blue\n", "colour"),
        ("id: [\n", "mine.yaml"),
        ("", "file"),
    ],
)
def test_a_dataset_of_one_s_own_with_a_mistake_is_named(capsys, tmp_path, text, said):
    (tmp_path / "mine.yaml").write_text(text)
    words = ["build", "--registry", f"mine={tmp_path}", "--specs", str(tmp_path)]

    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(tmp_path / "out")])

    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "mine.yaml" in err
    assert said in err


def test_a_folder_of_specifications_that_is_not_there_is_named(capsys, tmp_path):
    words = ["build", "--registry", f"mine={tmp_path}", "--specs", str(tmp_path / "no")]

    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(tmp_path / "out")])

    assert ended.value.code == 2
    assert "no folder of dataset specifications" in capsys.readouterr().err


def test_sources_that_are_no_tables_are_a_mistake(capsys, tmp_path):
    (tmp_path / "run.toml").write_text("steps = 1\n")

    with pytest.raises(SystemExit):
        main(["fit", str(tmp_path / "run.toml"), "--set", "sources=1"])

    assert "[[sources]]" in capsys.readouterr().err
