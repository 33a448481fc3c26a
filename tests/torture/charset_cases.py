"""Names in every character set of PS3.3 C.12.1.1.2, and labels that lie."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CASES", "CharsetCase"]


@dataclass(frozen=True, slots=True)
class CharsetCase:
    """Bytes of a patient's name under a label.

    Attributes
    ----------
    name : str
        What the case is called.
    label : bytes or None
        Value of Specific Character Set (0008,0005); None: the element is missing.
    value : bytes
        Of Patient's Name (0010,0010).
    text : str or None
        What these bytes say; None: nobody can know.

    """

    name: str
    label: bytes | None
    value: bytes
    text: str | None

    @property
    def family(self) -> str | None:
        """The family name of the first group: every list shows it."""
        return None if self.text is None else self.text.split("=")[0].split("^")[0]


def _plain(label: str, codec: str, text: str) -> CharsetCase:
    return CharsetCase(label, label.encode(), text.encode(codec), text)


CASES: tuple[CharsetCase, ...] = (
    CharsetCase("default repertoire", None, b"Adams^John", "Adams^John"),
    _plain("ISO_IR 100", "latin_1", "Buc^Jérôme"),
    _plain("ISO_IR 101", "iso8859_2", "Wałęsa^Łukasz"),
    _plain("ISO_IR 109", "iso8859_3", "Ĉapek^Ĝino"),
    _plain("ISO_IR 110", "iso8859_4", "Ąžuolas^Ēriks"),
    _plain("ISO_IR 144", "iso8859_5", "Люксембург^Роза"),
    _plain("ISO_IR 127", "iso8859_6", "قباني^لنزار"),
    _plain("ISO_IR 126", "iso8859_7", "Διονυσιος^Μαρια"),  # noqa: RUF001
    _plain("ISO_IR 138", "iso8859_8", "שרון^דבורה"),
    _plain("ISO_IR 148", "iso8859_9", "Çavuşoğlu^İlknur"),
    _plain("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    _plain("ISO_IR 166", "tis_620", "สมชาย^ใจดี"),
    _plain("ISO_IR 192", "utf_8", "Wang^XiaoDong=王^小東"),
    _plain("GB18030", "gb18030", "Wang^XiaoDong=王^小东"),
    _plain("GBK", "gbk", "Wang^XiaoDong=王^小东"),
    CharsetCase(  # PS3.5 H.3.1
        "ISO 2022 IR 87",
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
        b"=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    CharsetCase(  # PS3.5 I.2
        "ISO 2022 IR 149",
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
        b"=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    CharsetCase(  # PS3.5 K.2
        "ISO 2022 IR 58",
        b"\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
        "Zhang^XiaoDong=张^小东",
    ),
    CharsetCase(
        "two repertoires",
        b"ISO 2022 IR 100\\ISO 2022 IR 144",
        b"Buc^J\xe9r\xf4me=\x1b-L" + "Бук^Жером".encode("iso8859_5"),
        None,
    ),
    CharsetCase("missing label", None, "Buc^Jérôme".encode("latin_1"), None),
    CharsetCase("wrong label", b"ISO_IR 192", "Buc^Jérôme".encode("latin_1"), None),
    CharsetCase("UTF-8 as Latin-1", b"ISO_IR 100", "Łuk^Žan".encode(), None),
    CharsetCase("unknown label", b"KLINGON_1", b"Worf^\xe9\xfe", None),
    CharsetCase(
        "unknown among known", b"ISO 2022 IR 100\\NO SUCH", b"Buc^J\xe9r\xf4me", None
    ),
)
