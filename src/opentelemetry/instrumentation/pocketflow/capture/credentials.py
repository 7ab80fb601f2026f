"""How credentials look: what gives them away wherever they stand, and hides them.

Pure. Most begin in a way that nothing else does; so a text is only searched for those whose
beginning it has. All patterns run in linear time: a repetition is bounded, or stands behind an
anchor that a run of characters can match only once.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

REDACTED: Final = "[REDACTED]"
"""Stands where a credential stood."""

_SHAPES: Final = {
    # Model providers and the services around them.
    "api_org_": r"[A-Za-z]{30,}",
    "llx-": r"[A-Za-z0-9]{40,}",
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
    # Clouds.
    **dict.fromkeys(("dop_v1_", "doo_v1_", "dor_v1_"), r"[0-9a-f]{32,}"),
    **dict.fromkeys(("hvs.", "hvb.", "hvr."), r"[\w-]{20,}"),
    **dict.fromkeys(("pscale_tkn_", "pscale_pw_", "pscale_oauth_"), r"[\w.-]{30,}"),
    "sb_secret_": r"[\w-]{20,}",
    "HRKU-": r"[\w-]{30,}",
    "fm2_": r"[\w+/=]{60,}",
    "Q~": r"[\w.~-]{31,}",
    # Code, chat, payment, mail.
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9]{20,}"),
    "github_pat_": r"\w{20,}",
    "xox": r"[abeoprs]-[\w-]{10,}",
    "xapp-": r"\d-[\w-]{16,}",
    "sk_live_": r"[A-Za-z0-9]{10,}",
    "sk_test_": r"[A-Za-z0-9]{10,}",
    "rk_live_": r"[A-Za-z0-9]{10,}",
    "rk_test_": r"[A-Za-z0-9]{10,}",
    "sq0": r"(?:atp|csp|idp)-[\w-]{20,}",
    "whsec_": r"[A-Za-z0-9+/=]{20,}",
    "SG.": r"[\w-]{16,}\.[\w-]{16,}",
    "npm_": r"[A-Za-z0-9]{30,}",
    "pypi-": r"AgE[\w-]{30,}",
    "dckr_pat_": r"[\w-]{20,}",
    "shp": r"(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "xkeysib-": r"[0-9a-f]{60,}[\w-]*",
    "rubygems_": r"[0-9a-f]{40,}",
    "PMAK-": r"[0-9a-f-]{40,}",
    "figd_": r"[\w-]{30,}",
    "ATATT3": r"[\w=-]{30,}",
    "lin_api_": r"[A-Za-z0-9]{30,}",
    "glsa_": r"\w{30,}",
    "NRAK-": r"[A-Z0-9]{20,}",
    "sntrys_": r"[\w+/=-]{30,}",
    "sntryu_": r"[0-9a-f]{40,}",
    "dt0": r"[a-z]\d\d\.[A-Z0-9]{24}(?:\.[A-Z0-9]{60,})?",
    "AGE-SECRET-KEY-1": r"[A-Z0-9]{40,}",
}
"""How a credential begins, and a pattern for the rest of it."""

_WORD_SHAPES: Final = {
    "sk-": r"(?:(?:admin|None|lf)-[\w-]{16,}|(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{20,})",
    "sk_": r"[0-9a-f]{40,}",
    "hf_": r"[A-Za-z0-9]{20,}",
    "fw_": r"[A-Za-z0-9]{22,}",
    "pa-": r"(?=[\w-]{0,40}\d)[\w-]{40,}",
    "pat": r"[A-Za-z0-9]{14}\.[0-9a-f]{64}",
    "sbp_": r"(?:v0_)?[0-9a-f]{40}",
    "napi_": r"[a-z0-9]{60,}",
    **dict.fromkeys(("vcp_", "vck_", "vca_", "vci_"), r"[A-Za-z0-9]{24,}"),
    "dp.": r"(?:audit|ct|pt|sa|scim|st)\.(?:[\w-]{1,40}\.)?[A-Za-z0-9]{40,}",
    "gl": (
        r"(?:agent|cbt|dt|ffct|ft|imt|oas|pat|ptt|rt|rtr|soat|wt)-"
        r"(?=[\w-]{0,40}\d)[\w-]{16,}(?:\.[\w-]{2,})*"
    ),
    "glc_": r"[A-Za-z0-9+/]{30,}={0,2}",
    "phx_": r"[A-Za-z0-9]{40,}",
    "LTAI": r"[A-Za-z0-9]{12,26}(?![A-Za-z0-9])",
    "gsk_": r"[A-Za-z0-9]{20,}",
    "csk-": r"[a-z0-9]{32,}",
    "xai-": r"[A-Za-z0-9]{20,}",
    "AQ.Ab": r"[\w-]{20,}",
    "r8_": r"[A-Za-z0-9]{20,}",
    "fc-": r"[0-9a-f]{32}",
    "ntn_": r"[A-Za-z0-9]{30,}",
    "dapi": r"[0-9a-f]{32}",
    "ABSK": r"[A-Za-z0-9+/]{60,}={0,2}",
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
    return match["name"] + REDACTED if b":" in decoded else match[0]


def _if_random(match: re.Match[str]) -> str:
    return match["name"] + REDACTED if looks_random(match["secret"]) else match[0]


_KINDS: Final = re.compile(r"[0-9]+|[a-z]+|[A-Z]+")


def looks_random(text: str) -> bool:
    """Whether small letters, capitals and digits take turns as they do in no word or name."""
    return len(_KINDS.findall(text)) * 4 > len(text) and any(map(str.isdigit, text))


_PEM_LABEL: Final = r"(?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"

_BLOCKS: Final = (
    _Rule(
        "PRIVATE KEY",
        re.compile(rf"-----BEGIN {_PEM_LABEL}[\s\S]*?(?:-----END {_PEM_LABEL}|\Z)"),
    ),
)

# A password should not hold a slash, but people's do. What may be a port is none.
_AUTHORITY: Final = (
    r"[^\s/?#@:\"'`<>\\\[]{0,256}:(?!\d{1,5}(?:[/?#,;)\]\s]|\Z))"
    r"(?:[^\s/?#\"'`<>]{1,512}|[^\s\"'`<>]{1,256}?)@"
)

_ANYWHERE: Final = (
    _Rule("://", re.compile(rf"://{_AUTHORITY}"), f"://{REDACTED}@"),
    _Rule(  # a password so long that a cut has left no `@`
        "://",
        re.compile(r"://[^\s/?#@:\"'`<>\\\[]{0,256}:[^\s/?#@\"'`<>]{257,}\Z"),
        f"://{REDACTED}",
    ),
    _Rule(
        "asic ",
        re.compile(r"(?P<name>\b[Bb]asic )(?P<secret>[A-Za-z0-9+/]{8,2048}={0,2})"),
        _basic,
    ),
    _Rule(
        "-u",  # of curl; what may be numbers of a user and a group is none
        re.compile(
            r"(?P<name>(?<![\w-])(?:-u|--user)[ =][\"']?[\w.@%+-]{1,128}:)"
            r"(?!\d{1,10}(?![^\s\"'`]))[^\s\"'`]{1,256}"
        ),
        rf"\g<name>{REDACTED}",
    ),
)
"""Rules for texts of any kind."""

_BESIDE_RUNS: Final = (
    _Rule(r":\/\/", re.compile(rf":\\/\\/{_AUTHORITY}"), rf":\/\/{REDACTED}@"),
    _Rule(
        "://",
        re.compile(r"(?P<name>://)(?P<secret>[\w~-]{20,256})(?=@)"),
        _if_random,
    ),
    _Rule(
        "earer",
        re.compile(r"(?P<name>\b[Bb]earer(?:[ \t]+|%20))(?=[^\s\"'`]{0,200}\d)[\w.~+/=-]{16,}"),
        rf"\g<name>{REDACTED}",
    ),
)
"""Rules for texts with a long word, which is but a part of what they match."""

_RULES: Final = (
    _Rule(
        "eyJ",
        re.compile(rf"{_where_a_word_begins('eyJ')}[\w-]{{10,2000}}(?:\.[\w-]{{10,}}){{1,4}}"),
    ),
    _Rule(
        "ig",
        re.compile(r"(?P<name>[?&;](?:sig|X-Amz-Signature|X-Goog-Signature)=)[\w%+/=.~-]{10,}"),
        rf"\g<name>{REDACTED}",
    ),
    _Rule(
        "=",
        re.compile(
            r"(?P<name>[?&;](?:code|key|Signature|user_key)=)(?P<secret>[\w%+/=.~-]{16,2048})"
        ),
        _if_random,
    ),
    _Rule(
        "jdbc:oracle:",
        re.compile(r"(?P<name>jdbc:oracle:\w{1,8}:[^\s/@]{1,128}/)[^\s@]{1,256}@"),
        rf"\g<name>{REDACTED}@",
    ),
    _Rule(":AA", re.compile(r"(?<!\d)\d{8,10}:AA[\w-]{30,}")),
    _Rule(":fx", re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:fx\b")),
    _Rule("-us", re.compile(r"(?<![0-9a-f])[0-9a-f]{32}-us\d{1,2}\b")),
    _Rule(".atlasv1.", re.compile(r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,}")),
    _Rule(
        ".",  # the id of a Discord bot in base64, which begins with one of these letters
        re.compile(r"[MNO](?<![A-Za-z0-9.-].)[A-Za-z\d]{22,28}\.[\w-]{6}\.[\w-]{27,}"),
    ),
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
"""Rules for long words."""

_LONG: Final = 15
"""Characters without a blank that every match of `_RULES` has, and few words of prose."""

_SIGNS: Final = ("_", "-", ".")

_SIGNED: Final = re.compile(r"[_.-](?=[a-z_.-]{0,40}[A-Z0-9])[\w=.+-]{10}")
"""A sign, and behind it what is no name in small letters."""


def _rules_with(sign: str) -> tuple[_Rule, ...]:
    return tuple(
        rule for rule in _RULES if rule.marker.endswith(sign) and "/" not in rule.pattern.pattern
    )


_SIGNED_RULES: Final = tuple((sign, _rules_with(sign)) for sign in _SIGNS)
"""Those whose every match has what `_SIGNED` looks for, by the sign that their marker ends with."""

_OTHER_RULES: Final = tuple(
    rule for rule in _RULES if not any(rule in rules for _, rules in _SIGNED_RULES)
)


def hide_blocks(text: str) -> str:
    """Hides keys of several lines, the first of which may look like the value of an assignment."""
    return _apply(_BLOCKS, text, text)


def hide_in_urls_and_headers(text: str) -> str:
    """Hides what stands at a place that only a credential has."""
    return _apply(_ANYWHERE, text, text)


def long_words(text: str) -> str:
    """The words of a text that are long enough to be a credential."""
    return " ".join([word for word in text.split() if len(word) >= _LONG])


def hide_by_beginning(text: str, words: str) -> str:
    """Hides what begins, or is built, as only a credential is.

    Args:
        text: any.
        words: its `long_words`.
    """
    text = _apply(_BESIDE_RUNS, text, text)
    text = _apply(_OTHER_RULES, text, words)
    if _SIGNED.search(words):
        for sign, rules in _SIGNED_RULES:
            if sign in words:
                text = _apply(rules, text, words)
    return text


def _apply(rules: tuple[_Rule, ...], text: str, where: str) -> str:
    for marker, pattern, replacement in rules:
        if marker in where:
            text = pattern.sub(replacement, text)
    return text
