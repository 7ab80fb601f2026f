"""Finds credentials in names, strings and command lines, and hides them.

Pure: no OpenTelemetry, no I/O. Every value that may leave the process passes through one
`Redactor`. It knows two things: names whose value must never be shown (`api_key`), and shapes
that give a credential away wherever it stands (`ghp_...`, a JWT, a password in a URL).

Where text only looks like an assignment (``token = next(it)``, ``password: required``), a
program is easier to debug with the text left alone, so a bare value is hidden only if it looks
like a literal; see `_is_literal`. Everything else leans to hiding.

All built-in patterns run in linear time: a repetition is bounded, or stands behind an anchor
that a run of characters can match only once.
"""

from __future__ import annotations

import base64
import functools
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

REDACTED: Final = "[REDACTED]"
"""Stands where a credential stood."""

# --- Names ----------------------------------------------------------------------------------

_NAME_LIMIT: Final = 128
"""Characters of a name that are looked at, from its end: what a name means stands there."""

_NAME_CACHE: Final = 4096
"""Names whose verdict is remembered; programs use few names, often."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
"""One word of a name in snake_case, kebab-case or camelCase."""

_KEY_OWNERS: Final = (
    "access|account|anthropic|api|auth|azure|cohere|decryption|deepseek|deploy|encryption|"
    "gemini|google|groq|hmac|huggingface|license|master|mistral|openai|openrouter|pgp|pinecone|"
    "private|rsa|secret|serpapi|service|servicerole|session|signing|ssh|subscription|tavily"
)

_SECRET_NAME: Final = re.compile(
    rf"(?:(?:{_KEY_OWNERS})keys?|accesskeyid"
    r"|token|(?:access|api|auth|bearer|refresh|secret|session)tokens"
    r"|passwords?|passwd|passphrase|passcode|(?<!old)pwd"
    r"|(?:admin|db|email|ftp|mail|mysql|pg|redis|root|smtp|ssh|user)pass"
    r"|secrets?|credentials?|creds|authori[sz]ation|cookies?|(?:^|basic|http|proxy)auth"
    r"|sessid|connectsid|jwt|conn(?:ection)?str(?:ing)?|sharedaccesssignature"
    r"|mnemonic|seedphrase)\Z"
)
"""How a secret's name ends, in lower case and without separators."""

_NAME_TAILS: Final = frozenset(
    {"dev", "env", "hash", "hashed", "header", "live", "prod", "production", "staging", "test"}
    | {"value"}
)
"""Words that may follow a secret's name without changing what it is: `api_key_prod`."""

_PIECES_OF_TEXT: Final = frozenset(
    {"bos", "cls", "continuation", "each", "eos", "first", "last", "mask", "max", "min", "pad"}
    | {"page", "prev", "previous", "sep", "special", "start", "stop", "unk"}
)
"""Words before `token` that tell a piece of text, or a place in a list, from a credential."""

# --- Shapes ---------------------------------------------------------------------------------

_SHAPES: Final = {
    # Model providers and the services around them.
    "sk-ant-": r"[\w-]{24,}",
    "sk-or-v1-": r"[\w-]{24,}",
    "sk-proj-": r"[\w-]{24,}",
    "sk-svcacct-": r"[\w-]{24,}",
    "AIza": r"[\w-]{30,}",
    "ya29.": r"[\w-]{20,}",
    "GOCSPX-": r"[\w-]{20,}",
    "pplx-": r"[A-Za-z0-9]{20,}",
    "nvapi-": r"[\w-]{20,}",
    "tgp_v1_": r"[\w-]{20,}",
    "tvly-": r"[\w-]{16,}",
    "pcsk_": r"\w{20,}",
    "jina_": r"[\w-]{32,}",
    "lsv2_": r"(?:pt|sk)_\w{20,}",
    "pylf_": r"v\d_\w{16,}",
    "ABSK": r"[A-Za-z0-9+/]{60,}={0,2}",
    # Clouds.
    "dop_v1_": r"[0-9a-f]{32,}",
    "hvs.": r"[\w-]{20,}",
    # Code, chat, payment, mail.
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9]{20,}"),
    "github_pat_": r"\w{20,}",
    "glpat-": r"[\w-]{16,}",
    "gldt-": r"[\w-]{16,}",
    "glrt-": r"[\w-]{16,}",
    "xox": r"[abeoprs]-[\w-]{10,}",
    "xapp-": r"\d-[\w-]{16,}",
    "sk_live_": r"[A-Za-z0-9]{10,}",
    "sk_test_": r"[A-Za-z0-9]{10,}",
    "rk_live_": r"[A-Za-z0-9]{10,}",
    "whsec_": r"[A-Za-z0-9+/=]{20,}",
    "SG.": r"[\w-]{16,}\.[\w-]{16,}",
    "npm_": r"[A-Za-z0-9]{30,}",
    "pypi-": r"AgE[\w-]{30,}",
    "dckr_pat_": r"[\w-]{20,}",
    "shpat_": r"[0-9a-fA-F]{32}",
    "ATATT3": r"[\w=-]{30,}",
    "lin_api_": r"[A-Za-z0-9]{30,}",
    "glsa_": r"\w{30,}",
    "NRAK-": r"[A-Z0-9]{20,}",
    "sntrys_": r"[\w+/=-]{30,}",
}
"""How a credential begins, and a pattern for the rest of it."""

_WORD_SHAPES: Final = {
    "sk-": r"(?:(?:admin|None|lf)-[\w-]{16,}|(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{20,})",
    "sk_": r"[0-9a-f]{40,}",
    "hf_": r"[A-Za-z0-9]{20,}",
    "gsk_": r"[A-Za-z0-9]{20,}",
    "csk-": r"[a-z0-9]{32,}",
    "xai-": r"[A-Za-z0-9]{20,}",
    "AQ.Ab": r"[\w-]{20,}",
    "r8_": r"[A-Za-z0-9]{20,}",
    "fc-": r"[0-9a-f]{32}",
    "ntn_": r"[A-Za-z0-9]{30,}",
    "dapi": r"[0-9a-f]{32}",
    "AKIA": r"[A-Z0-9]{16}(?![A-Za-z0-9])",
    "ASIA": r"[A-Z0-9]{16}(?![A-Za-z0-9])",
    "key-": r"[0-9a-f]{32}(?![A-Za-z0-9])",
    "SK": r"[0-9a-f]{32}(?![A-Za-z0-9])",
}
"""The same, for beginnings that ordinary words end with: `task-0123...` is no key."""


class _Rule(NamedTuple):
    """One shape. A text that can match `pattern` has `marker` in it: a cheap first look."""

    marker: str
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str] = REDACTED


def _where_a_word_begins(prefix: str) -> str:
    """A pattern for a prefix that no letter or digit precedes.

    The look-behinds repeat the prefix and come after it, so that the regex engine can search
    for the literal. A word also begins after an escape, in a URL or in JSON inside JSON.
    """
    literal = re.escape(prefix)
    hexadecimal = "[0-9A-Fa-f]"
    return (
        rf"{literal}(?:(?<![A-Za-z0-9]{literal})|(?<=\\[nrt]{literal})"
        rf"|(?<=%{hexadecimal}{hexadecimal}{literal}))"
    )


def _basic(match: re.Match[str]) -> str:
    """Hide what follows `Basic` only if it decodes to ``user:password``."""
    encoded = match["secret"]
    whole_groups = len(encoded) // 4 * 4
    decoded = base64.b64decode(encoded[:whole_groups])
    return match["scheme"] + REDACTED if b":" in decoded else match[0]


_PEM_LABEL: Final = r"(?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"

_BEFORE_ASSIGNMENTS: Final = (
    # Of several lines, the first of which may look like the value of an assignment.
    _Rule(
        "PRIVATE KEY",
        re.compile(rf"-----BEGIN {_PEM_LABEL}[\s\S]*?(?:-----END {_PEM_LABEL}|\Z)"),
    ),
)

_URL_PASSWORD: Final = _Rule(
    "://",
    re.compile(
        r"://[^\s/?#@:\"'`<>\\\[]{0,256}:"
        r"(?!\d{1,5}(?:[/?#,;)\]\s]|\Z))"  # a port
        # A password should not hold a slash, but people's do.
        r"(?:[^\s/?#\"'`<>]{1,512}|[^\s\"'`<>]{1,256}?)@"
    ),
    f"://{REDACTED}@",
)

_AFTER_ASSIGNMENTS: Final = (
    _URL_PASSWORD,
    _Rule(
        "asic ",
        re.compile(r"(?P<scheme>\b[Bb]asic )(?P<secret>[A-Za-z0-9+/]{8,2048}={0,2})"),
        _basic,
    ),
)

_UNBROKEN: Final = (
    _Rule(
        "earer",
        re.compile(r"(?P<scheme>\b[Bb]earer(?:[ \t]+|%20))(?=[^\s\"'`]{0,200}\d)[\w.~+/=-]{16,}"),
        rf"\g<scheme>{REDACTED}",
    ),
    _Rule(
        "eyJ",
        re.compile(rf"{_where_a_word_begins('eyJ')}[\w-]{{10,2000}}(?:\.[\w-]{{10,}}){{1,4}}"),
    ),
    _Rule(
        "ig",
        re.compile(r"(?P<name>[?&](?:sig|X-Amz-Signature|X-Goog-Signature)=)[\w%+/=.~-]{10,}"),
        rf"\g<name>{REDACTED}",
    ),
    _Rule(":AA", re.compile(r"(?<!\d)\d{8,10}:AA[\w-]{30,}")),
    _Rule(
        "/services/T",
        re.compile(r"(?<=hooks\.slack\.com/services/)T\w{6,}/B\w{6,}/\w{16,}"),
    ),
    _Rule("/webhooks/", re.compile(r"(?<=/api/webhooks/)\d{10,20}/[\w-]{40,}")),
    *(_Rule(prefix, re.compile(re.escape(prefix) + rest)) for prefix, rest in _SHAPES.items()),
    *(
        _Rule(prefix, re.compile(_where_a_word_begins(prefix) + rest))
        for prefix, rest in _WORD_SHAPES.items()
    ),
)

_LONG_RUN: Final = re.compile(r"[^\s\"'`<>,;]{15}")
"""What every match of `_UNBROKEN` has, and most prose has not."""

_SHORTEST_CREDENTIAL: Final = 12
"""Characters; nothing shorter has any of the shapes."""

_PASSES: Final = 8
"""How often a text is looked through, at most, until nothing more is found: of two credentials
without a space between them, one may show only when the other is hidden."""

# --- Assignments ----------------------------------------------------------------------------

_NAME_MARKERS: Final = (
    *("auth", "conn", "cookie", "cred", "jwt", "key", "mnemonic", "pass", "pwd", "secret"),
    *("seed", "sess", "signature", "token"),
)
"""One of these is in every name that `_SECRET_NAME` accepts."""

_AFTER_MARKER: Final = (
    r"[\w\-]{0,40}(?: [\w\-]{1,20})?(?P<end>)"
    r"(?P<sep>\\{0,4}[\"'`]?\]?[ \t]{0,8}(?::=|=>|[:=])(?![=:]|//)[ \t]{0,8})"
)

_BEFORE_MARKER: Final = re.compile(r"[\w\-]*(?: [\w\-]+)?")
"""The part of a name before its marker, backwards: the rest of a word, and one word more."""

_FLAG: Final = re.compile(r"(?<![\w\-])(?P<name>--[A-Za-z][\w\-]{1,64})[ \t]{1,8}(?=[^\s\-])")

_QUOTED: Final = re.compile(
    r"[bBfFrRuU]{0,2}(?P<quote>\"\"\"|'''|\\{0,4}[\"'`])"
    r"(?P<secret>(?:(?!(?P=quote))(?:\\.|[^\\\n]))+)"
)

_HEADER: Final = re.compile(
    r"(?:bearer|token|apikey)[ \t]+(?P<secret>[^\s\"'`,;\\]+)"
    r"|(?:digest|aws4-hmac-sha256|hawk)[ \t]+(?P<rest>\w+=[^\r\n]+)",
    re.IGNORECASE,
)
"""A scheme and what it carries, as the value of a secret name."""

_COOKIES: Final = re.compile(r"(?P<secret>[\w.$-]{1,128}=[^\r\n\"'`\\]+)")

_BARE: Final = re.compile(r"(?:[^\s\"'`&;,\\]|\\(?![nrt\"'`]))+")

_CLOSERS: Final = ")]}>."
"""What may follow a bare value without a space, and is none of it."""

_VALUE_ENDS: Final = r"(?![^\s,;)\]}|])"

_PLACEHOLDER: Final = re.compile(
    r"\[REDACTED\]|(?:\*{3,}|\.{3,}|…)(?!\w)|<[A-Za-z_][\w \-]{0,40}>"
    r"|\{{1,2} ?[\w.:!\[\]]{0,60} ?\}{1,2}|\$(?:\{\w{1,60}\}|\([^()\n]{0,60}\)|[A-Z_]{3,}\b)"
    r"|%[A-Z_]{3,}%"
)
"""A value that names where a secret is, in a template or a shell."""

_REFERENCE: Final = re.compile(
    rf"{_PLACEHOLDER.pattern}"
    rf"|(?i:none|null|true|false|undefined|nil|str|string|bytes|bool|int|secretstr|any){_VALUE_ENDS}"
    r"|[A-Za-z_][\w.]{0,80}[(\[]"
    rf"|[A-Za-z_]{{1,40}}(?:\.[A-Za-z_]{{1,40}}){{1,6}}{_VALUE_ENDS}"
    rf"|[A-Z]{{2,20}}(?:_[A-Z]{{1,20}}){{1,6}}{_VALUE_ENDS}"
)
"""A bare value that is a placeholder, or the type, variable or call that stands in code."""

_LITERAL: Final = re.compile(r".{0,64}?[\d@#$%^*+~]|[A-Za-z]{20,}\Z")

_LITERAL_MIN: Final = 4

_NUMBER: Final = re.compile(r"[$€]?\d[\d.,_]{0,8}[%kKmM]?")


def _is_literal(value: str) -> bool:
    """Whether a bare value after a colon or spaces is no word of prose or code."""
    return len(value) >= _LITERAL_MIN and _LITERAL.match(value) is not None


class _Assignment(NamedTuple):
    """A secret name in a text, and where its value begins."""

    name: str
    name_start: int
    value_start: int
    tight: bool
    """Only `=` between name and value, as in code, queries and environments."""


class Redactor:
    """Hides credentials.

    Args:
        keys: Names to treat as secret besides the built-in ones. A name matches in any case and
            with any separators, and also as the last words of a longer name: `ssn` covers
            `customer_ssn` and `customerSsn`.
        patterns: Regular expressions to hide besides the built-in shapes, wherever they match.

    Raises:
        ValueError: A pattern is no valid regular expression, or a key has no letter or digit.
    """

    def __init__(self, keys: Collection[str] = (), patterns: Collection[str] = ()) -> None:
        self._keys: Final = frozenset(_required_words(key) for key in keys)
        self._patterns: Final = tuple(_compiled(pattern) for pattern in patterns)
        self._markers: Final = (*_NAME_MARKERS, *sorted({words[-1] for words in self._keys}))
        self._marked: Final = re.compile(
            f"(?:{'|'.join(map(re.escape, self._markers))}){_AFTER_MARKER}"
        )
        self.shown_keys: Final[dict[str, Any]] = {}
        """How keys are shown, kept here by whoever shows them: it depends on this redactor."""
        self._verdict: Final = functools.lru_cache(maxsize=_NAME_CACHE)(self._is_secret)

    def secret_key(self, name: str) -> bool:
        """Tell whether the value under a key, parameter, header or flag must never be shown.

        Only the end of a name counts: `token` and `openaiApiKey` are secret, `token_count` and
        `public_key` are not.
        """
        return self._verdict(_plain(name)[-_NAME_LIMIT:])

    def text(self, text: str) -> str:
        """Replace every credential in a text.

        Args:
            text: Any string. Redact before cutting: a credential's first half has no shape.

        Returns:
            The very same object where nothing was found.
        """
        plain = found = _plain(text)
        for _ in range(_PASSES):
            before, found = found, self._pass(found)
            if found == before:
                break
        return text if found == plain else found

    def args(self, argv: Sequence[str]) -> list[str]:
        """Redact a command line: ``--token X``, ``--token=X``, and shapes anywhere.

        Returns:
            As many strings as were given.
        """
        redacted: list[str] = []
        value_is_secret = False
        for argument in argv:
            hide = value_is_secret and not argument.startswith("--")
            redacted.append(REDACTED if hide else self._argument(argument))
            value_is_secret = not hide and self._announces_secret(argument)
        return redacted

    def _pass(self, text: str) -> str:
        may_have_shape = len(text) >= _SHORTEST_CREDENTIAL
        found = _apply(_BEFORE_ASSIGNMENTS, text) if may_have_shape else text
        if ":" in found or "=" in found:
            found = self._hide(found, self._assignments(found))
        if "--" in found:
            found = self._hide(found, self._flags(found))
        if may_have_shape:
            found = _apply(_AFTER_ASSIGNMENTS, found)
            found = _apply(_UNBROKEN, found) if _LONG_RUN.search(found) else found
        return self._own_patterns(found) if self._patterns else found

    def _argument(self, argument: str) -> str:
        flag, separator, value = argument.partition("=")
        if value and flag.startswith("-") and self.secret_key(flag):
            return flag + separator + REDACTED
        return self.text(argument)

    def _announces_secret(self, argument: str) -> bool:
        return argument.startswith("-") and "=" not in argument and self.secret_key(argument)

    def _is_secret(self, name: str) -> bool:
        words = _words(name)
        if any(words[-len(key) :] == key for key in self._keys):
            return True
        while words and (words[-1] in _NAME_TAILS or words[-1].isdigit()):
            words = words[:-1]
        return _SECRET_NAME.search("".join(words)) is not None and not _is_piece_of_text(words)

    def _assignments(self, text: str) -> Iterator[_Assignment]:
        """Secret names in a text that are followed by `=` or `:`, in order."""
        lowered = _lower(text)
        if not any(map(lowered.__contains__, self._markers)):
            return
        for match in self._marked.finditer(lowered):
            start = _name_start(text, match.start())
            name = text[start : match.end("end")]
            if self.secret_key(name):
                yield _Assignment(name, start, match.end(), tight=match["sep"] == "=")

    def _flags(self, text: str) -> Iterator[_Assignment]:
        """Secret flags in a text that are followed by a value, in order."""
        for match in _FLAG.finditer(text):
            if self.secret_key(match["name"]):
                yield _Assignment(match["name"], match.start(), match.end(), tight=False)

    def _hide(self, text: str, assignments: Iterator[_Assignment]) -> str:
        pieces: list[str] = []
        done = 0
        for assignment in assignments:
            span = None if assignment.name_start < done else self._value_span(text, assignment)
            if span is not None:
                pieces += (text[done : span[0]], REDACTED)
                done = span[1]
        return "".join((*pieces, text[done:])) if pieces else text

    def _value_span(self, text: str, assignment: _Assignment) -> tuple[int, int] | None:
        """Where the secret value of an assignment stands; None where it need not be hidden."""
        start = assignment.value_start
        match = _QUOTED.match(text, start) or _HEADER.match(text, start)
        if match is None and "cookie" in assignment.name.lower():
            match = _COOKIES.match(text, start)
        if match is None:
            return self._bare_span(text, assignment)
        start, end = match.span(match.lastgroup or 0)
        return None if _PLACEHOLDER.fullmatch(text, start, end) else (start, end)

    def _bare_span(self, text: str, assignment: _Assignment) -> tuple[int, int] | None:
        start = assignment.value_start
        if _REFERENCE.match(text, start):
            return None
        match = _BARE.match(text, start)
        value = match[0].rstrip(_CLOSERS) if match else ""
        if not value or self._is_harmless(assignment.name, value):
            return None
        if not assignment.tight and not _is_literal(value):
            return None
        return start, start + len(value)

    def _is_harmless(self, name: str, value: str) -> bool:
        """Whether a bare value is a number of tokens, or a variable as in ``api_key=api_key``."""
        if name.lower().endswith("token") and _NUMBER.fullmatch(value):
            return True
        return value.isidentifier() and self.secret_key(value)

    def _own_patterns(self, text: str) -> str:
        for pattern in self._patterns:
            # Between the marks only: a pattern must not eat into what is redacted already.
            parts = text.split(REDACTED)
            text = REDACTED.join(pattern.sub(_hide_match, part) for part in parts)
        return text


def _apply(rules: tuple[_Rule, ...], text: str) -> str:
    for marker, pattern, replacement in rules:
        if marker in text:
            text = pattern.sub(replacement, text)
    return text


def _hide_match(match: re.Match[str]) -> str:
    """Hide a match of a user's pattern; an empty match hides nothing."""
    return REDACTED if match[0] else ""


def _plain(text: str) -> str:
    """An exact str, so that no method of a subclass runs, nor its `__hash__` in the cache."""
    return text if type(text) is str else str.__str__(text)


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name))


def _required_words(key: str) -> tuple[str, ...]:
    words = _words(key)
    if not words:
        raise ValueError(f"redacted key {key!r}: must have a letter or digit")
    return words


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"redaction pattern {pattern!r}: {error}") from error


def _is_piece_of_text(words: tuple[str, ...]) -> bool:
    """Whether a name that ends in `token` means a piece of text: `eos_token`, `cost_per_token`."""
    *before, last = words
    if last != "token" or not before:
        return False
    return before[-1] in _PIECES_OF_TEXT or "per" in before or "next" in before


_ASCII_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _lower(text: str) -> str:
    """Lower case with every character in its place; `str.lower` makes two of some."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text.translate(_ASCII_LOWER)


def _name_start(text: str, marker_start: int) -> int:
    before = text[max(0, marker_start - _NAME_LIMIT // 2) : marker_start]
    match = _BEFORE_MARKER.match(before[::-1])
    return marker_start - (match.end() if match else 0)


in_use = Redactor()
"""What is hidden where no run has a say: in baggage, in messages, in spans of others beside runs.

Set by the instrumentor. It outlives the instrumentation: what was to be hidden stays hidden.
"""
