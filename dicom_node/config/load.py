"""Read the settings: a TOML file, and the environment that wins over it."""

from __future__ import annotations

import json
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dicom_node.config.settings import NodeSettings
from dicom_node.errors import SettingsError

__all__ = ["ENVIRONMENT_PREFIX", "load_settings"]

ENVIRONMENT_PREFIX = "DICOM_NODE_"
"""What every environment variable of the node starts with."""

_KUBERNETES = re.compile(
    r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
"""Variables of a Service named ``dicom-node``, after the prefix; and ``PORT``, which
is one of them when its value is a URL."""

_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def load_settings(
    path: Path | None = None, environment: Mapping[str, str] | None = None
) -> NodeSettings:
    """Read the settings from a TOML file and the environment.

    Parameters
    ----------
    path : pathlib.Path, optional
        The settings file; None: defaults and environment only.
    environment : mapping, optional
        Variables to read; the process environment when absent.

    Raises
    ------
    SettingsError
        The file cannot be read, a key is unknown, or a value is out of range;
        the message names the key.

    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            msg = f"cannot read {path}: {error.strerror}"
            raise SettingsError(msg) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"{path} is not a TOML file: {error}"
            raise SettingsError(msg) from error
    _merge_environment(values, os.environ if environment is None else environment)
    try:
        return NodeSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_describe(error)) from error


def _merge_environment(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    lists, tables = _lists(), set(NodeSettings.model_fields) - _lists()
    for name, text in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key in {"cache", "config"}:  # read by opendata and cli
            continue
        if _is_kubernetes(name.removeprefix(ENVIRONMENT_PREFIX), text):
            continue
        table, _, item = key.partition("_")
        if key in lists:
            try:
                values[key] = json.loads(text)
            except json.JSONDecodeError as error:
                msg = f"{name} is not a JSON list: {error}"
                raise SettingsError(msg) from error
            continue
        if table not in tables or not item:
            msg = f"{name} is not a setting"
            raise SettingsError(msg)
        section = values.setdefault(table, {})
        if not isinstance(section, dict):
            msg = f"{table}: must be a table"
            raise SettingsError(msg)
        # A list inside a table is JSON, too; an address such as [::1] is none.
        section[item] = _json_list(text) if text.startswith("[") else text


def _json_list(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _lists() -> set[str]:
    return {
        name
        for name, field in NodeSettings.model_fields.items()
        if typing.get_origin(field.annotation) is tuple
    }


def _is_kubernetes(key: str, text: str) -> bool:
    if key == "PORT":
        return _KUBERNETES_PORT.fullmatch(text) is not None
    return _KUBERNETES.fullmatch(key) is not None


def _describe(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        key = ".".join(str(part) for part in item["loc"])
        what = "unknown key" if item["type"] == "extra_forbidden" else item["msg"]
        lines.append(f"{key}: {what}" if key else what)
    return "; ".join(lines)
