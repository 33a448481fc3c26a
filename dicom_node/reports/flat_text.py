"""A report's text as it grows out of a document's tree."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["FlatText", "clean"]


@dataclass
class FlatText:
    """Sections, each a heading line and its statements, one a paragraph.

    It is made once and every span counts its characters.
    """

    parts: list[str] = field(default_factory=list)
    title: str = ""
    label: str = ""
    """What an unknown container is called: said before the first thing in it."""

    @property
    def has_statements(self) -> bool:
        """Whether anything was said."""
        return bool(self.parts)

    def add(self, statement: str, title: str) -> None:
        """Append a statement in the section of that title, "" for an unknown one."""
        if not statement:
            return
        # A section without a known title must not fall into the one before it.
        title = title or ("Report" if self.title else "")
        if title and title != self.title:
            self.parts.append(f"{title.upper()}:\n")
            self.title = title
        label = f"{self.label}: " if self.label else ""
        self.parts.append(f"{label}{statement}\n\n")
        self.label = ""

    def __str__(self) -> str:
        return "".join(self.parts)


def clean(value: object) -> str:
    """Return text with plain line ends and without control characters."""
    # Half of a surrogate pair, which a hostile file may hold, is no character.
    text = str(value if value is not None else "").encode("utf-8", "replace").decode()
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n")
    return "".join(one for one in text if one in "\n\t" or ord(one) >= 32).strip()
