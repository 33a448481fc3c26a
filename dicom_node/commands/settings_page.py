"""`dicom-node settings`: every setting, its default and its meaning, as Markdown."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
import typing
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dicom_node.config import ENVIRONMENT_PREFIX, NodeSettings

__all__ = ["render_settings"]


def render_settings() -> str:
    """Render the page `docs/settings.md` from the settings' own definitions."""
    lines = [
        "# Settings",
        "",
        "A TOML file, given by `--config` or `DICOM_NODE_CONFIG`. An environment",
        "variable wins over the file; the lists are JSON in their variable. An",
        "unknown key is an error that names it. What Kubernetes injects for a Service",
        "named `dicom-node` (`DICOM_NODE_SERVICE_HOST`, `DICOM_NODE_SERVICE_PORT*`,",
        "`DICOM_NODE_PORT=tcp://...`, `DICOM_NODE_PORT_<number>_TCP*`) is no setting",
        "and is left alone. Times are in seconds, at most a day.",
    ]
    for table, field in NodeSettings.model_fields.items():
        section, is_list = _section_of(field.annotation)
        lines += ["", f"## `[[{table}]]`" if is_list else f"## `[{table}]`", ""]
        purpose = " ".join((section.__doc__ or "").split())
        purpose = purpose.partition(": ")[2]
        lines += [purpose[:1].upper() + purpose[1:], ""]
        variable = f"{ENVIRONMENT_PREFIX}{table.upper()}"
        if is_list:
            lines += [f"Environment: `{variable}`, a JSON list of objects.", ""]
            lines += ["| key | default | meaning |", "|---|---|---|"]
        else:
            lines += ["| key | environment | default | meaning |", "|---|---|---|---|"]
        meanings = _meanings(section)
        for key, item in section.model_fields.items():
            cells = [f"`{key}`", _default(item), _with_choices(item, meanings[key])]
            if not is_list:
                cells.insert(1, f"`{variable}_{key.upper()}`")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _section_of(annotation: Any) -> tuple[type[BaseModel], bool]:
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    if isinstance(annotation, types.UnionType):
        msg = "a table of the settings is one kind of section"
        raise TypeError(msg)
    return annotation, False


def _default(item: FieldInfo) -> str:
    if item.is_required():
        return "required"
    value = item.default
    if value is None:
        return ""
    if isinstance(value, str | Path):
        return f'`"{value}"`'
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _meanings(section: type[BaseModel]) -> dict[str, str]:
    """Return the text below each key of a section.

    pydantic can do it while a class is made, which parses the sources at every start.
    """
    found: dict[str, str] = {}
    for one in reversed(section.__mro__):
        if not issubclass(one, BaseModel) or one is BaseModel:
            continue
        (made,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        for field, text in pairwise(typing.cast(ast.ClassDef, made).body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=key)),
                    ast.Expr(value=ast.Constant(value=str(said))),
                ):
                    found[key] = inspect.cleandoc(said)
    return found


def _with_choices(item: FieldInfo, meaning: str) -> str:
    choices = typing.get_args(item.annotation)
    text = " ".join(meaning.replace("``", "`").split())
    if typing.get_origin(item.annotation) is typing.Literal:
        text += " One of " + ", ".join(f"`{one}`" for one in choices) + "."
    return text
