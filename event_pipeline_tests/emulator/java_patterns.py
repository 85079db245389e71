r"""Java's regular expressions, in which AWS's service models write their patterns, as Python's `regex` reads them.

Both agree on most, and disagree without an error: Java's `\d`, `\w` and `\s` are ASCII, `\p{Alpha}` is ASCII, `.` stops
at more line ends, and `\uD800\uDC00` is one character. What is not known to mean the same is refused, never guessed.
"""

from __future__ import annotations

from functools import cache

import regex

_ASCII_CLASSES = {"d": "0-9", "w": "0-9A-Z_a-z", "s": r"\t-\r\x20"}
_COMPLEMENTS = {
    "D": r"\x00-/:-\U0010FFFF",
    "W": r"\x00-/:-@\[-\^`\{-\U0010FFFF",
    "S": r"\x00-\x08\x0E-\x1F\x21-\U0010FFFF",
}
_POSIX = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "ASCII": r"\x00-\x7F",
    "Alpha": "A-Za-z",
    "Digit": "0-9",
    "Alnum": "0-9A-Za-z",
    "Punct": r"!-/:-@\[-`\{-~",
    "Graph": "!-~",
    "Print": r"\x20-~",
    "Blank": r"\x20\t",
    "Cntrl": r"\x00-\x1F\x7F",
    "XDigit": "0-9A-Fa-f",
    "Space": r"\t-\r\x20",
}
"""Java's POSIX classes: of ASCII alone."""
_CATEGORY = regex.compile(r"L[ulmto]?|M[nce]?|N[dlo]?|Z[slp]?|P[cdseifo]?|S[mcko]?|C[cfon]?")
_CONTROLS = {"t": 0x09, "n": 0x0A, "r": 0x0D, "f": 0x0C, "a": 0x07, "e": 0x1B}
_GROUPS = ("(?:", "(?=", "(?!", "(?<=", "(?<!", "(?i)")
_QUANTIFIER = regex.compile(r"(?:[*+?]|\{\d+(?:,\d*)?\})[?+]?")
_HEXADECIMAL = regex.compile(r"u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,6})\}")
_PROPERTY = regex.compile(r"([pP])(?:\{(?:Is)?(\w+)\}|([A-Z]))")
_ANY_CHARACTER = r"[^\n\r\x85\u2028\u2029]"
_WORD_BOUNDARY = r"(?:(?<=[0-9A-Z_a-z])(?![0-9A-Z_a-z])|(?<![0-9A-Z_a-z])(?=[0-9A-Z_a-z]))"


class UntranslatablePatternError(Exception):
    """A pattern holds what is not known to mean the same in Java and here."""


@cache
def translate(pattern: str) -> regex.Pattern[str]:
    """Return a Java pattern for `fullmatch`, which is Java's `matches`.

    Raises:
        UntranslatablePatternError: it is not known how.
    """
    text = _Translation(pattern).run()
    try:
        return regex.compile(text)
    except regex.error as error:
        raise UntranslatablePatternError(f"{pattern!r} became {text!r}: {error}") from error


class _Translation:
    """One pattern on its way."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def run(self) -> str:
        """Return it in Python's words."""
        made = []
        while self._at < len(self._pattern):
            made.append(self._part())
        return "".join(made)

    def _part(self) -> str:
        match self._pattern[self._at]:
            case "[":
                return self._set()
            case "(":
                return self._group()
            case ".":
                self._at += 1
                return _ANY_CHARACTER
            case ")" | "|" | "^" | "$":
                return self._take(1)
            case "*" | "+" | "?" | "{":
                found = _QUANTIFIER.match(self._pattern, self._at)
                if found is None:
                    raise self._refusal("a brace that is no quantifier")
                return self._take(len(found[0]))
            case "]" | "}":
                raise self._refusal("a closing bracket that closes nothing")
        if self._skip("\\b"):
            return _WORD_BOUNDARY
        is_set, text = self._atom()
        return f"[{text}]" if is_set else text

    def _group(self) -> str:
        if self._pattern[self._at + 1 : self._at + 2] != "?":
            return self._take(1)
        for opening in _GROUPS:
            if self._pattern.startswith(opening, self._at):
                return self._take(len(opening))
        raise self._refusal("a group of an unknown kind")

    def _set(self) -> str:
        """Translate one set of characters, from its bracket on."""
        self._at += 1
        made = ["[", "^" if self._skip("^") else ""]
        if self._here() == "]":
            raise self._refusal("a set that begins with its end")
        while not self._skip("]"):
            if self._here() == "[" or self._pattern.startswith("&&", self._at):
                raise self._refusal("a set within a set")
            is_set, text = self._atom()
            made.append(text)
            if is_set or self._here() != "-" or self._pattern[self._at + 1 : self._at + 2] in ("]", ""):
                continue
            self._at += 1
            if self._here() == "[":
                raise self._refusal("a set within a set")
            is_set, last = self._atom()
            if is_set:
                raise self._refusal("a range that ends at a class")
            made += ["-", last]
        return "".join([*made, "]"])

    def _atom(self) -> tuple[bool, str]:
        """Return whether the next atom is several characters, and how they are written within a set."""
        character = self._here()
        if not character:
            raise self._refusal("an end in the middle")
        self._at += 1
        if character != "\\":
            return False, _written(ord(character))
        escaped = self._here()
        if found := _PROPERTY.match(self._pattern, self._at):
            self._at += len(found[0])
            return True, self._property(found[1], found[2] or found[3])
        if _HEXADECIMAL.match(self._pattern, self._at):
            return False, _written(self._code_point())
        self._at += 1
        if escaped in _ASCII_CLASSES or escaped in _COMPLEMENTS:
            return True, _ASCII_CLASSES.get(escaped) or _COMPLEMENTS[escaped]
        if escaped in _CONTROLS:
            return False, _written(_CONTROLS[escaped])
        if not escaped or escaped.isalnum():
            raise self._refusal(f"the escape \\{escaped}")
        return False, _written(ord(escaped))

    def _property(self, letter: str, name: str) -> str:
        if name in _POSIX and letter == "p":
            return _POSIX[name]
        if not _CATEGORY.fullmatch(name):
            raise self._refusal(f"the property {name}")
        return f"\\{letter}{{{name}}}"

    def _code_point(self) -> int:
        r"""Read `uD800\uDC00` as one character, as Java does."""
        code = self._hexadecimal()
        if 0xD800 <= code <= 0xDBFF and self._skip("\\"):
            low = self._hexadecimal()
            if 0xDC00 <= low <= 0xDFFF:
                return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        if 0xD800 <= code <= 0xDFFF:
            raise self._refusal("half a character")
        return code

    def _hexadecimal(self) -> int:
        found = _HEXADECIMAL.match(self._pattern, self._at)
        if found is None:
            raise self._refusal("half a character")
        self._at += len(found[0])
        return int(found[1] or found[2] or found[3], 16)

    def _here(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _skip(self, text: str) -> bool:
        if not self._pattern.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _take(self, length: int) -> str:
        taken = self._pattern[self._at : self._at + length]
        self._at += length
        return taken

    def _refusal(self, what: str) -> UntranslatablePatternError:
        return UntranslatablePatternError(
            f"{self._pattern!r} has {what} near character {self._at}: teach it translate()"
        )


def _written(code: int) -> str:
    """Return one character so that it means itself, within a set and outside of it."""
    character = chr(code)
    if character.isascii() and (character.isalnum() or character == "_"):
        return character
    return f"\\U{code:08X}"
