"""Read the settings: a TOML file, and the environment that wins over it."""

from __future__ import annotations

import difflib
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
        the message names the key, and the variable that it came from.

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
    variables = _merge_environment(
        values, os.environ if environment is None else environment
    )
    try:
        return NodeSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_describe(error, values, variables)) from error


def _merge_environment(
    values: dict[str, Any], environment: Mapping[str, str]
) -> dict[tuple[int | str, ...], str]:
    """Put variables over what a file says; return which key came from which."""
    variables: dict[tuple[int | str, ...], str] = {}
    lists = _lists()
    tables = sorted(set(NodeSettings.model_fields) - lists, key=len, reverse=True)
    for name, text in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key in {"cache", "config"}:  # read by opendata and cli
            continue
        if _is_kubernetes(name.removeprefix(ENVIRONMENT_PREFIX), text):
            continue
        if key in lists:
            try:
                values[key] = json.loads(text)
            except json.JSONDecodeError as error:
                msg = f"{name} is not a JSON list: {error}"
                raise SettingsError(msg) from error
            variables[key,] = name
            continue
        # A table's own name may hold an underscore.
        table = next((one for one in tables if key.startswith(f"{one}_")), None)
        if table is None:
            msg = f"{name} is not a setting"
            raise SettingsError(msg)
        item = key.removeprefix(f"{table}_")
        section = values.setdefault(table, {})
        if not isinstance(section, dict):
            msg = f"{table}: must be a table"
            raise SettingsError(msg)
        # A list inside a table is JSON, too; an address such as [::1] is none.
        section[item] = _json_list(text) if text.startswith("[") else text
        variables[table, item] = name
    return variables


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


def _describe(
    error: ValidationError,
    values: Mapping[str, Any],
    variables: Mapping[tuple[int | str, ...], str],
) -> str:
    """Say each problem in a line of its own, in the words of the settings file."""
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        place = item["loc"]
        variable = variables.get(place[:2]) or variables.get(place[:1])
        source = f" (from {variable})" if variable else ""
        lines.append(f"{_where(place, values)}{source}: {_what(item, values)}")
    return "\n".join(lines)


def _where(location: tuple[int | str, ...], values: Any) -> str:
    """Name a key as the file does; an entry of a list by its name where it has one."""
    said = ""
    for part in location:
        if isinstance(part, int):
            values = values[part] if part < len(values) else None
            name = values.get("name") if isinstance(values, dict) else None
            said += f"[{name or part + 1}]"
        else:
            values = values.get(part) if isinstance(values, dict) else None
            said += f".{part}" if said else part
    return said or "settings"


def _what(item: Any, values: Mapping[str, Any]) -> str:
    kind, told = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(
            str(item["loc"][-1]), _known_keys(item["loc"][:-1]), n=1
        )
        return "there is no such key" + (f"; did you mean {near[0]}?" if near else "")
    if kind == "missing":
        return "it must be given"
    if kind == "literal_error":
        return f"it must be {told['expected']}"
    if kind.startswith("int_"):
        return "it must be a whole number"
    if kind.startswith("float_"):
        return "it must be a number"
    if kind.startswith("bool_"):
        return "it must be true or false"
    if kind.startswith("string_type"):
        return "it must be text"
    text = str(item["msg"]).removeprefix("Value error, ")
    return text.replace("Input should be", "it must be").replace(
        "String should", "it should"
    )


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the table at a place of the settings."""
    model: Any = NodeSettings
    for part in location:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        kinds = (field.annotation, *typing.get_args(field.annotation))
        model = next((one for one in kinds if hasattr(one, "model_fields")), None)
    return list(getattr(model, "model_fields", {}))
