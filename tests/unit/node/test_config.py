from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.commands.settings_page import render_settings
from dicom_node.config import load_settings
from dicom_node.errors import SettingsError

ISSUE_EXAMPLE = """
[node]
ae_title = "GROUNDING"
host = "127.0.0.1"
port = 11112
data_dir = "node-data"
quiet_time_s = 10
[model]
engine = "medglip"
device = "auto"
[web]
host = "127.0.0.1"
port = 8042
[[callers]]
ae_title = "PACS"
address = "10.1.0.0/16"
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "10.1.0.7"
port = 104
profile = "default"
"""


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


def test_a_complete_file_is_read(tmp_path):
    settings = load_settings(_write(tmp_path, ISSUE_EXAMPLE), {})

    assert settings.node.port == 11112
    assert settings.callers[0].address == "10.1.0.0/16"
    assert settings.destinations[0].port == 104


def test_without_a_file_the_defaults_hold():
    settings = load_settings(None, {})

    assert settings.node.ae_title == "GROUNDING"
    assert settings.callers == ()
    assert settings.database_url.startswith("sqlite:///")


def test_the_environment_wins_over_the_file(tmp_path):
    path = _write(tmp_path, ISSUE_EXAMPLE)
    destinations = [{"name": "b", "ae_title": "B", "host": "h", "port": 1}]
    environment = {
        "DICOM_NODE_NODE_PORT": "11113",
        "DICOM_NODE_WEB_ENABLED": "false",
        "DICOM_NODE_DESTINATIONS": json.dumps(destinations),
        "UNRELATED": "x",
    }

    settings = load_settings(path, environment)

    assert settings.node.port == 11113
    assert settings.web.enabled is False
    assert [one.name for one in settings.destinations] == ["b"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[node]\nprot = 1\n", "node.prot: there is no such key; did you mean port?"),
        ("[dicom_tls]\nenabeld = 1\n", "dicom_tls.enabeld: .* did you mean enabled"),
        ("[node]\nport = 1.5\n", "node.port: it must be a whole number"),
        ("[nodes]\nport = 1\n", "nodes"),
        ("[node]\nport = 99999\n", "node.port"),
        ("[node]\nport = 'x'\n", "node.port"),
        ("[node]\nae_title = 'MUCH_TOO_LONG_A_TITLE'\n", "node.ae_title"),
        ("[node]\nae_title = ''\n", "node.ae_title"),
        ("[node]\nae_title = 'A\\\\B'\n", "node.ae_title"),
        ("[node]\nquiet_time_s = 0\n", "node.quiet_time_s"),
        ("[[callers]]\nae_title = 'A'\naddress = 'nowhere'\n", "callers[1].address"),
        (
            "[[callers]]\naddress = '10.0.0.1'\n",
            "callers[1].ae_title: it must be given",
        ),
        ("[[destinations]]\nname = 'a/b'\n", "destinations[a/b].name"),
        ("node = 1\n", "node"),
        ("[node\n", "TOML"),
        ("[model]\nengine = 'gpt'\n", "model.engine: 'gpt' is none of: grounded-gen"),
        ("[node]\nquiet_time_s = inf\n", "node.quiet_time_s"),
        ("[node]\nquiet_time_s = nan\n", "node.quiet_time_s"),
        ("[model]\ntimeout_s = inf\n", "model.timeout_s"),
        ("[limits]\npdu_timeout_s = 1e9\n", "limits.pdu_timeout_s"),
        ("[limits]\nidle_timeout_s = inf\n", "limits.idle_timeout_s"),
        ("[limits]\ndecode_timeout_s = nan\n", "limits.decode_timeout_s"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, text, named):
    pattern = re.sub(r"([\[\].?])(?!\*)", r"\\\1", named)
    with pytest.raises(SettingsError, match=pattern):
        load_settings(_write(tmp_path, text), {})


def test_every_problem_has_a_line_of_its_own(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load_settings(_write(tmp_path, "[node]\nprot = 1\nport = 'x'\n"), {})

    assert len(str(caught.value).splitlines()) == 2


def test_a_table_with_two_words_can_be_set_by_the_environment():
    settings = load_settings(None, {"DICOM_NODE_DICOM_TLS_PORT": "2763"})

    assert settings.dicom_tls.port == 2763


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"DICOM_NODE_NODE_PROT": "1"}, "node.prot"),
        ({"DICOM_NODE_NODE": "1"}, "DICOM_NODE_NODE"),
        ({"DICOM_NODE_PORT": "1"}, "DICOM_NODE_PORT"),
        ({"DICOM_NODE_CALLERS": "PACS"}, "DICOM_NODE_CALLERS"),
    ],
)
def test_a_wrong_variable_is_named(environment, named):
    with pytest.raises(SettingsError, match=named.replace(".", r"\.")):
        load_settings(None, environment)


KUBERNETES = {
    "DICOM_NODE_SERVICE_HOST": "10.96.12.7",
    "DICOM_NODE_SERVICE_PORT": "11112",
    "DICOM_NODE_SERVICE_PORT_DICOM": "11112",
    "DICOM_NODE_PORT": "tcp://10.96.12.7:11112",
    "DICOM_NODE_PORT_11112_TCP": "tcp://10.96.12.7:11112",
    "DICOM_NODE_PORT_11112_TCP_PROTO": "tcp",
    "DICOM_NODE_PORT_11112_TCP_PORT": "11112",
    "DICOM_NODE_PORT_11112_TCP_ADDR": "10.96.12.7",
}


def test_what_kubernetes_says_of_a_service_of_our_name_is_no_setting():
    assert load_settings(None, KUBERNETES) == load_settings(None, {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DICOM_NODE_PORT", "11113"),
        ("DICOM_NODE_PORT_11112", "tcp://10.96.12.7:11112"),
        ("DICOM_NODE_PORT_11112_TCP_NAME", "x"),
        ("DICOM_NODE_SERVICE", "x"),
        ("DICOM_NODE_SERVICE_NAME", "x"),
    ],
)
def test_what_only_looks_like_kubernetes_is_named(name, text):
    with pytest.raises(SettingsError, match=f"{name} is not a setting"):
        load_settings(None, {name: text})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("DICOM_NODE_NODE_PROT", "1", "node.prot (from {}): there is no such key"),
        ("DICOM_NODE_NODE_PORT", "many", "node.port (from {}): it must be a whole"),
        ("DICOM_NODE_CALLERS", "[{}]", "callers[1].ae_title (from {}): it must be"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_beside_its_key(
    tmp_path, name, text, said
):
    path = tmp_path / "node.toml"
    path.write_text("[node]\nhost = 'localhost'\n")

    with pytest.raises(SettingsError, match=re.escape(said.format(name))):
        load_settings(path, {name: text})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.toml"):
        load_settings(tmp_path / "absent.toml", {})


def test_two_destinations_of_one_name_are_refused(tmp_path):
    one = "[[destinations]]\nname='a'\nae_title='A'\nhost='h'\nport=1\n"

    with pytest.raises(SettingsError, match="same name"):
        load_settings(_write(tmp_path, one + one), {})


@given(st.text(max_size=20))
def test_any_ae_title_is_kept_or_refused(title):
    environment = {"DICOM_NODE_NODE_AE_TITLE": title}
    try:
        settings = load_settings(None, environment)
    except SettingsError:
        return

    kept = settings.node.ae_title
    assert 1 <= len(kept) <= 16
    assert kept == title.strip(" ")


def test_the_settings_page_is_up_to_date():
    page = Path(__file__).parents[3] / "docs" / "settings.md"

    assert page.read_text() == render_settings()
