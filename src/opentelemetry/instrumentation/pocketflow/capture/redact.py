"""Finds credentials in names, strings and command lines, and hides them.

Pure: no OpenTelemetry, no I/O. Every value that may leave the process passes through one
`Redactor`. It knows two things: names whose value must never be shown (`api_key`), and shapes
that give a credential away wherever it stands (`ghp_...`, a JWT, a password in a URL).

Where text only looks like an assignment (``token = next(it)``, ``password: required``), a
program is easier to debug with the text left alone, so a bare value is hidden only if it looks
like a literal; see `_is_literal`. Everything else leans to hiding.

All built-in patterns run in linear time: a repetition is bounded, or stands behind an anchor
that a run of characters can match only once. The shapes stand in `credentials`.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote

from opentelemetry.instrumentation.pocketflow.capture import credentials
from opentelemetry.instrumentation.pocketflow.capture.credentials import REDACTED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

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

_LOGIN_FLAGS: Final = frozenset({"-u", "--user"})
"""Flags of curl, behind which ``user:password`` stands."""

_FLAG: Final = re.compile(
    r"(?<![\w\-])(?P<name>--[A-Za-z][\w\-]{1,64})"
    r"(?:[ \t]{1,8}(?=[^\s\-])"
    r"|\\{0,4}[\"'],\s{0,40}(?=[bBrRuU]?\\{0,4}[\"'](?!--|-\w\\{0,4}[\"'])))"
)
"""A flag and what leads to its value: blanks, or a quote and a comma, as where a list is shown."""

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

_SCHEME: Final = re.compile(
    r"(?P<scheme>[A-Za-z][\w-]{1,30})[ \t]+"
    r"(?:(?P<rest>[\w-]{1,64}=(?:\\{0,4}[\"'])?\w[^\r\n]*)|(?P<secret>[\w+/][^\s\"'`,;\\]*))"
)
"""Any other scheme, and its parameters or credential, as the value of `Authorization`."""

_LONG_CREDENTIAL: Final = 16
"""Characters of a credential behind a scheme that could as well be a word of a sentence."""

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


_MIXED: Final = re.compile(r"[0-9](?:[A-Za-z]|(?<=[A-Za-z].))")
"""A letter beside a digit, as in what looks random."""

_RANDOM: Final = re.compile(r"(?<![\w+/~-])[A-Za-z0-9+/_~-]{16,}={0,2}")
"""What may look random; whether it does, `looks_random` says."""

_BETWEEN: Final = r"(?:[^\w.;?!&/%\\]|(?<!\\)\\+(?!\\)(?:[nrt]|u00[0-9a-f]{2})?|&\w{2,6};){1,24}"
"""Quotes, brackets, blanks and the like, of which some may be escaped."""

_NAME_BEFORE: Final = re.compile(
    rf"(?P<name>[A-Za-z][\w-]{{1,63}}(?: [\w-]{{1,20}})??){_BETWEEN}"
    rf"(?:(?:value|val|v|is|was|b|b64|base64|string|text|secretstr|secret_value){_BETWEEN}){{0,2}}\Z",
    re.IGNORECASE,
)
"""A name before a value that no `=` or `:` joins to it: ``("token", "...")``, ``<token>...``."""

_ENCODABLE: Final = re.compile(r"[^\s\"'`<>]{12,}")
_UNSAFE: Final = re.compile(r"[\s\"'`<>\\]")
"""What is encoded again, so that what was decoded stays one word."""

_MOST_ENCODINGS: Final = 3
"""How often a text may have been encoded for a URL."""


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
        value_is_secret, previous = False, ""
        for argument in argv:
            hide = value_is_secret and not argument.startswith("--")
            before, previous = previous, argument
            if hide:
                redacted.append(REDACTED)
            elif before in _LOGIN_FLAGS:
                redacted.append(self.text(f"{before} {argument}")[len(before) + 1 :])
            else:
                redacted.append(self._argument(argument))
            value_is_secret = not hide and self._announces_secret(argument)
        return redacted

    def _pass(self, text: str, encodings: int = 0) -> str:
        may_have_shape = len(text) >= _SHORTEST_CREDENTIAL
        found = credentials.hide_blocks(text) if may_have_shape else text
        if ":" in found or "=" in found:
            found = self._hide(found, self._assignments(found))
        if "--" in found:
            found = self._hide(found, self._flags(found))
        if may_have_shape:
            found = credentials.hide_in_urls_and_headers(found)
            if words := credentials.long_words(found):
                found = self._in_long_words(found, words, encodings)
        return self._own_patterns(found) if self._patterns else found

    def _in_long_words(self, text: str, words: str, encodings: int) -> str:
        text = credentials.hide_by_beginning(text, words)
        if _MIXED.search(words) and self._has_marker(_lower(text)):
            text = _RANDOM.sub(self._hide_if_named, text)
        if "%" in words and encodings < _MOST_ENCODINGS:
            text = _ENCODABLE.sub(lambda match: self._decoded(match[0], encodings + 1), text)
        return text

    def _hide_if_named(self, match: re.Match[str]) -> str:
        """Hide what looks random if a secret name stands before it, whatever is between them."""
        if not credentials.looks_random(match[0]):
            return match[0]
        before = match.string[max(0, match.start() - _NAME_LIMIT) : match.start()]
        name = _NAME_BEFORE.search(before)
        return REDACTED if name is not None and self.secret_key(name["name"]) else match[0]

    def _has_marker(self, lowered: str) -> bool:
        return any(map(lowered.__contains__, self._markers))

    def _decoded(self, text: str, encodings: int) -> str:
        """A part of a URL, decoded if a credential is in it that shows only then."""
        plain = unquote(text) if "%" in text else text
        found = self._pass(plain, encodings)
        return text if found == plain else _UNSAFE.sub(lambda match: quote(match[0]), found)

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
        if not self._has_marker(lowered):
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
            return self._scheme_span(text, assignment) or self._bare_span(text, assignment)
        start, end = match.span(match.lastgroup or 0)
        return None if _PLACEHOLDER.fullmatch(text, start, end) else (start, end)

    def _scheme_span(self, text: str, assignment: _Assignment) -> tuple[int, int] | None:
        """Where the credential stands that follows the name of a scheme."""
        start = assignment.value_start
        if "authori" not in assignment.name.lower() or _REFERENCE.match(text, start):
            return None
        match = _SCHEME.match(text, start)
        if match is None or _REFERENCE.match(text, match.start(match.lastgroup or 0)):
            return None
        # What is tight is no sentence: where its first word is hidden, so is the second.
        is_tight = assignment.tight and self._bare_span(text, assignment) is not None
        if not is_tight and not _is_authorization(match):
            return None
        first, end = match.span(match.lastgroup or 0)
        is_scheme_shown = not assignment.tight and not _is_literal(match["scheme"])
        return (first if is_scheme_shown else start), end

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


def _is_authorization(match: re.Match[str]) -> bool:
    """Whether what looks like a scheme and a credential is no sentence."""
    value = match["rest"] or match["secret"]
    if match["scheme"][0].isupper():
        return match["rest"] is not None or _is_literal(value)
    return len(value) >= _LONG_CREDENTIAL and _is_literal(value)


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

shows_values = True
"""May messages show values of the program at all? Set by the instrumentor as well."""


def message_in_a_log(text: str) -> str:
    """As much of a fault's message as a log may show."""
    return in_use.text(text) if shows_values else ""
