"""What the redactor hides, and what it leaves alone.

Planted credentials are put together at run time, so that secret scanners find none in this file.
"""

from __future__ import annotations

import base64
import string
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED, Redactor

DIGITS = "0123456789"
HEX = (DIGITS + "abcdef") * 8
MIXED = "aB3dE5gH7jK9mN1pQ2sT4vW6xY8zA0cD" * 4
REDACTOR = Redactor()


def _jwt() -> str:
    parts = ('{"alg":"HS256","typ":"JWT"}', '{"sub":"1234567890","admin":true}', MIXED[:32])
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().strip("=") for part in parts)


def _pem(label: str = "RSA ", *, whole: bool = True) -> str:
    lines = [f"-----BEGIN {label}PRIVATE" + " KEY-----", MIXED[:64], MIXED[1:65]]
    return "\n".join([*lines, f"-----END {label}PRIVATE" + " KEY-----"] if whole else lines)


SHAPES = {
    "openai": "sk" + "-" + MIXED[:48],
    "openai project": "sk" + "-proj-" + MIXED[:20] + "_" + MIXED[:20] + "-" + MIXED[:20],
    "openai service account": "sk" + "-svcacct-" + MIXED[:60],
    "anthropic": "sk" + "-ant-api03-" + MIXED[:90] + "AA",
    "openrouter": "sk" + "-or-v1-" + HEX[:64],
    "deepseek": "sk" + "-" + HEX[:32],
    "langfuse": "sk" + "-lf-" + "12345678-1234-1234-1234-123456789abc",
    "google": "AI" + "za" + MIXED[:35],
    "google oauth": "ya" + "29." + MIXED[:60],
    "google client secret": "GOC" + "SPX-" + MIXED[:28],
    "huggingface": "h" + "f_" + MIXED[:34],
    "groq": "gs" + "k_" + MIXED[:52],
    "xai": "xa" + "i-" + MIXED[:80],
    "replicate": "r" + "8_" + MIXED[:37],
    "perplexity": "pp" + "lx-" + MIXED[:48],
    "nvidia": "nv" + "api-" + MIXED[:64],
    "tavily": "tv" + "ly-" + MIXED[:32],
    "langsmith": "ls" + "v2_pt_" + HEX[:32] + "_" + HEX[:10],
    "aws key id": "AK" + "IA" + "IOSFODNN7EXAMPLE",
    "aws session key id": "AS" + "IA" + "IOSFODNN7EXAMPLE",
    "databricks": "da" + "pi" + HEX[:32],
    "vault": "hv" + "s." + MIXED[:24],
    "github": "gh" + "p_" + MIXED[:36],
    "github fine-grained": "github" + "_pat_" + MIXED[:22] + "_" + MIXED[:59],
    "gitlab": "gl" + "pat-" + MIXED[:20],
    "slack": "xo" + "xb-" + DIGITS + "-" + DIGITS + "-" + MIXED[:24],
    "stripe": "sk" + "_live_" + MIXED[:24],
    "sendgrid": "S" + "G." + MIXED[:22] + "." + MIXED[:43],
    "npm": "np" + "m_" + MIXED[:36],
    "pypi": "py" + "pi-" + "AgEIcHlwaS5vcmc" + MIXED[:60],
    "twilio": "S" + "K" + HEX[:32],
    "mailgun": "ke" + "y-" + HEX[:32],
    "telegram": DIGITS[1:10] + ":" + "AA" + MIXED[:33],
    "jwt": _jwt(),
    "pem": _pem(),
    "pkcs8 pem": _pem(""),
}
"""Credentials that give themselves away wherever they stand."""

SURROUNDINGS = (
    "{}",
    "before {} after",
    "(see {})",
    "line\n{}\nline",
    '["{}"]',
    r"JSON in JSON: \"x\\n{}\"",
    "https://host.example/path?x={}&y=1",
    "next%3D{}",
)

HUNTER = "hunter" + "2"

ASSIGNMENTS = {
    "environment": ("OPENAI_API_KEY={}", HUNTER),
    "query": ("https://h.example/?a=1&access_token={}&b=2", HUNTER),
    "json": ('{{"password": "{}", "user": "ada"}}', HUNTER),
    "json in json": (r"{{\"password\": \"{}\", \"user\": \"ada\"}}", HUNTER),
    "json with an escaped quote": ('{{"password": "{}", "user": "ada"}}', r"hun\"ter"),
    "json cut off": ('{{"user": "ada", "password": "{}', HUNTER),
    "repr": ("{{'clientSecret': '{}', 'n': 1}}", HUNTER),
    "keyword argument": ("Client(api_key='{}', timeout=3)", HUNTER),
    "bytes": ("password=b'{}'", HUNTER),
    "triple quotes": ('password = """{}"""', HUNTER),
    "subscript": ('os.environ["API_KEY"] = "{}"', HUNTER),
    "yaml": ("user: ada\npassword: {}\nport: 1", HUNTER),
    "ini": ("[db]\npassword = {}\n", HUNTER),
    "words": ("The API key: {}, do not tell.", HUNTER),
    "command line": ("serve --api-key {} --port 1", HUNTER),
    "command line, quoted": ("serve --api-key '{}' --port 1", HUNTER),
    "command line, equals": ("serve --api-key={} --port 1", HUNTER),
    "header": ("GET /\nX-Api-Key: {}\nAccept: */*", HUNTER),
    "bearer header": ("Authorization: Bearer {}\nAccept: */*", "abcdefgh"),
    "quoted bearer header": ('-H "Authorization: Bearer {}" x', HUNTER),
    "basic header": ("Authorization: Basic {}", base64.b64encode(b"ada:love").decode()),
    "basic anywhere": ("sent Basic {} to it", base64.b64encode(b"ada:lovelace").decode()),
    "bearer anywhere": ("sent Bearer {} to it", MIXED[:24]),
    "cookie header": ("Cookie: {}\nAccept: */*", "sid=31d4d96e407aad42; theme=dark"),
    "set-cookie header": ("Set-Cookie: {}\nAccept: */*", "id=a3fWa; Secure; HttpOnly"),
    "digest header": ("Authorization: Digest {}\nX: 1", 'username="a", response="6629fae4"'),
    "header of another scheme": ("Authorization: SSWS {}\nAccept: */*", "00abcDEFghi"),
    "header of Kerberos": ("Authorization: Negotiate {}", "YII" + MIXED + "="),
    "header of Azure": ("-H 'Authorization: SharedKey {}' x", "acct:" + MIXED[:40] + "="),
    "scheme in small letters": (
        "authorization: genie-key {}",
        "eb243592-faa2-4ba2-a551-1afdf565c889",
    ),
    "header of OAuth 1": ("Authorization: OAuth {}", 'oauth_token="a", oauth_signature="b%3D"'),
    "scheme with digits": ("Authorization: V2-HMAC-SHA256 {}", "Credential=a1, Signature=e5"),
    "scheme in an environment": ("Authorization=Key {}", HUNTER + ":abc9"),
    "flag in a list": ("Command '['false', '--password', '{}']' failed", HUNTER),
    "flag in a list of bytes": ("[b'--password', b'{}']", HUNTER),
    "flag in JSON": ('["--password",\n  "{}", "db"]', HUNTER),
    "flag in JSON in JSON": (r'"[\"--password\", \"{}\"]"', HUNTER),
    "url cut off in its password": ("postgres://ada:{}", "x7" * 300),
    "aws secret": ("aws_secret_access_key = {}", MIXED[:20] + "/" + MIXED[:19]),
    "azure account key": ("AccountName=a;AccountKey={};Suffix=b", MIXED[:40] + "+/=="),
    "azure signature": ("https://a.example/c?sv=2022&sig={}&se=1", MIXED[:40] + "%3D"),
    "url": ("postgres://ada:{}@db.example:5432/x?ssl=1", HUNTER),
    "url without user": ("redis://:{}@cache.example/0", HUNTER),
    "url with @ in password": ("postgres://ada:{}@db.example/x", "hun@ter"),
    "url with / in password": ("postgres://ada:{}@db.example/x", "hun/ter"),
    "slack webhook": (
        "https://hooks.slack.com/services/{}",
        "T0" + HEX[:8].upper() + "/B0" + HEX[:8].upper() + "/" + MIXED[:24],
    ),
}
"""A template of ordinary text, and what must not remain of it."""

HIDDEN_NAMES = """
    api_key apikey x-api-key openai_api_key openaiApiKey OPENAI_API_KEY APIKey apiKEY api_keys
    API_KEY_2 api_key_prod x-goog-api-key access_token accessToken refresh_token auth_token id_token
    token TOKEN bot.token csrf_token access_tokens password db_password PGPASSWORD passwd pwd
    MYSQL_PWD passphrase password_hash smtp_pass secret client_secret webhookSecret secrets
    authorization Authorization Proxy-Authorization auth basic_auth cookie Cookies set-cookie
    private_key ssh_key signing_key aws_secret_access_key aws_access_key_id AccountKey credential
    credentials GOOGLE_APPLICATION_CREDENTIALS PHPSESSID session_key
    connection_string connectionString conn_str jwt openai_key --api-key
"""

SHOWN_NAMES = """
    tokens max_tokens token_count prompt_tokens total_tokens tokenizer token_ids token_type
    eos_token pad_token special_token next_token next_page_token NextToken cost_per_token
    usd_per_input_token first_token author authors authenticated requires_auth keyboard key keys
    primary_key public_key foreign_key cache_key sort_key monkey secretary secretariat session
    session_id sessionId
    sessions pass passed bypass compass OLDPWD cwd passage cookie_policy password_policy
    credentials_file api_key_count keyword hotkey user_id passenger conn connected
"""

ORDINARY = (
    "",
    "x",
    "The quick brown fox jumps over the lazy dog.",
    "Tokens used: 1234 (prompt 1000, completion 234); max_tokens=4096",
    "usage: {'prompt_tokens': 12, 'completion_tokens': 5, 'total_tokens': 17}",
    '{"token_count": 17, "author": "Ada", "keyboard": "qwerty", "primary_key": "id"}',
    "next token: 50256, eos_token: <|endoftext|>",
    "Cost per token: 0.0000025 USD",
    "Your password: must be eight characters or more.",
    "Password: required. Token: a unit of text. Secret: none.",
    "An API key is needed; set OPENAI_API_KEY, then pass --api-key to the program.",
    "Authorization: who may do what. Authentication: who somebody is.",
    "authorization: required for all users. Authorization: see the page about it.",
    "authorization: see RFC7235, and read chapter2",
    "Authorization: SSWS ${TOKEN}, or SSWS <your-token>",
    "authorization = await self.get_authorization_v2(request)",
    'parser.add_argument("--password", "-p", help="of the user")',
    '["--auth", "--port", "80"]',
    "Bearer authentication is described in an RFC; Basic authentication in another.",
    "Basic Understanding of Electromagnetism",
    "Cookie: a small cake.",
    "def login(user: str, password: str, token: str | None = None) -> None:",
    "client = OpenAI(api_key=os.environ['OPENAI_API_KEY'])",
    'client = OpenAI(api_key=os.getenv("OPENAI_API_KEY"))',
    "client = Client(api_key=api_key, token=self.token, password=settings.password)",
    "token = next(tokens)\npassword = getpass()\nsecret = secrets.token_hex(16)",
    "if token == expected: return",
    "api_key: Optional[str] = Field(default=None)",
    "curl -H 'X-Api-Key: $API_KEY' -H 'Authorization: Bearer $TOKEN'",
    "password=${DB_PASSWORD} token={token} secret={{ secret }} api_key=<your-key>",
    "export TOKEN=$(cat file)",
    '{"api_key": "${API_KEY}", "password": "***", "token": "<your token>"}',
    "commit 47adc55644b06b9d19076c3b50d30d27b9124b5a",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "123e4567-e89b-12d3-a456-426614174000",
    "task-0123456789abcdef0123456789abcdef",
    "risk-assessment-of-the-2024-financial-report",
    "<div class='sk-folding-cube sk-spinner-double-bounce'></div>",
    "https://example.com:8080/path/@user?size=2x#top",
    "http://localhost:8000/image@2x.png and mail to ada@example.com",
    "http://[::1]:8080/a@b",
    "ssh://git@example.com/org/repo.git and git@example.com:org/repo.git",
    "/usr/local/lib/python3.11/site-packages/pocketflow/__init__.py:42",
    r"C:\Users\ada\project\tokens\main.py",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "SELECT * FROM keys WHERE key = :key AND token_count > 5",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "Ünïcödé text: ключ, 鍵, 🔑 and İstanbul",
    "2024-01-01T00:00:00Z INFO pocketflow.node Answer took 1.25s",
    "assert result.tokens[0].key == 'value'",
)


@pytest.mark.parametrize("secret", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_known_shape_is_hidden_wherever_it_stands(secret: str, surroundings: str) -> None:
    """Only the credential goes, and nothing of it stays."""
    assert REDACTOR.text(surroundings.format(secret)) == surroundings.format(REDACTED)


@pytest.mark.parametrize(("template", "secret"), ASSIGNMENTS.values(), ids=ASSIGNMENTS.keys())
def test_the_value_of_a_secret_name_is_hidden(template: str, secret: str) -> None:
    """The secret goes, and a reader still sees whose value it was."""
    redacted = REDACTOR.text(template.format(secret))

    name = template.format("\0").partition("\0")[0].rpartition("ada:")[0]
    assert secret not in redacted
    assert REDACTED in redacted
    assert redacted.startswith(name)


def test_a_private_key_cut_off_is_hidden_to_the_end() -> None:
    """Without its last line, nothing tells where the key ends."""
    text = "before\n" + _pem("OPENSSH ", whole=False) + "\nmore"

    assert REDACTOR.text(text) == f"before\n{REDACTED}"


def test_a_url_keeps_scheme_host_and_path() -> None:
    """User and password go together; the rest tells which server it was."""
    url = f"postgresql+psycopg://ada:{HUNTER}@db.example:5432/x?sslmode=require"

    expected = f"postgresql+psycopg://{REDACTED}@db.example:5432/x?sslmode=require"
    assert REDACTOR.text(url) == expected


def test_a_header_keeps_its_name_and_scheme() -> None:
    """A reader sees how a request was authorised."""
    header = f"Authorization: Bearer {_jwt()}"

    assert REDACTOR.text(header) == f"Authorization: Bearer {REDACTED}"
    other = "Authorization: SSWS 00abcDEFghi\nAccept: */*"
    assert REDACTOR.text(other) == f"Authorization: SSWS {REDACTED}\nAccept: */*"


def test_json_stays_json() -> None:
    """Quotes, commas and neighbours of a hidden value are untouched."""
    text = f'{{"api_key": "{HUNTER}", "model": "m", "max_tokens": 5}}'

    assert REDACTOR.text(text) == f'{{"api_key": "{REDACTED}", "model": "m", "max_tokens": 5}}'


def test_several_credentials_in_one_text_all_go() -> None:
    """One find does not end the search."""
    text = " ".join(secret for secret in SHAPES.values() if "BEGIN" not in secret)

    assert set(REDACTOR.text(text).split()) == {REDACTED}


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_returned_as_the_same_object(text: str) -> None:
    """Nobody debugs with half of their prompt hidden."""
    assert REDACTOR.text(text) is text


@pytest.mark.parametrize("name", HIDDEN_NAMES.split())
def test_a_secret_name_is_known(name: str) -> None:
    """Case and separators do not matter."""
    assert REDACTOR.secret_key(name) is True


@pytest.mark.parametrize("name", SHOWN_NAMES.split())
def test_a_harmless_name_is_left_alone(name: str) -> None:
    """Names that only resemble a secret's keep their values."""
    assert REDACTOR.secret_key(name) is False


def test_a_very_long_name_is_judged_by_its_end() -> None:
    """A text used as a key costs no more than a name."""
    assert REDACTOR.secret_key("x" * 1_000_000 + "_api_key") is True
    assert REDACTOR.secret_key("api_key_" + "x" * 1_000_000) is False


class _TextOfTheUser(str):
    """A string that must only be read as the text it holds."""

    __slots__ = ()

    def _refuse(self, *_: object) -> Any:
        raise AssertionError

    __hash__ = __eq__ = __len__ = __contains__ = __str__ = _refuse


def test_a_string_of_the_users_own_type_runs_none_of_its_code() -> None:
    """A str subclass is read as the text it holds."""
    ordinary = _TextOfTheUser("an ordinary sentence, with tokens: none")

    assert REDACTOR.secret_key(_TextOfTheUser("password")) is True
    assert REDACTOR.text(ordinary) is ordinary
    assert REDACTOR.text(_TextOfTheUser(f"password={HUNTER}")) == f"password={REDACTED}"


def test_added_keys_match_like_built_in_ones() -> None:
    """An added key covers any case, any separator and longer names that end with it."""
    redactor = Redactor(keys=["tax number", "SSN", "пароль"])

    names = ["tax_number", "taxNumber", "Tax-Number", "customer_ssn", "Пароль"]
    assert [redactor.secret_key(name) for name in names] == [True] * 5
    assert redactor.secret_key("assn") is False
    assert redactor.text("Мой Пароль=тайна") == f"Мой Пароль={REDACTED}"
    assert redactor.text("customer_ssn=078051120, n=1") == f"customer_ssn={REDACTED}, n=1"
    assert REDACTOR.secret_key("ssn") is False


def test_added_patterns_are_hidden_and_never_eat_the_mark() -> None:
    """A wide pattern of a user hides its matches once."""
    redactor = Redactor(patterns=[r"[A-Z]+", r"\d*"])

    once = redactor.text("order ABC 42")
    assert once == f"order {REDACTED} {REDACTED}"
    assert redactor.text(once) == once


@pytest.mark.parametrize("pattern", ["(", "[a-", "*"])
def test_an_invalid_pattern_is_named(pattern: str) -> None:
    """The error says which of the patterns is wrong."""
    with pytest.raises(ValueError, match="redaction pattern") as caught:
        Redactor(patterns=["fine", pattern])
    assert repr(pattern) in str(caught.value)


def test_a_key_without_letters_is_refused() -> None:
    """An empty key would hide everything."""
    with pytest.raises(ValueError, match="redacted key '--'"):
        Redactor(keys=["--"])


def test_a_command_line_is_redacted_in_all_its_forms() -> None:
    """Values of secret flags go; the flags and everything else stay."""
    argv = ["main.py", "--api-key", HUNTER, f"--token={HUNTER}", "--tokens", "5", SHAPES["github"]]

    expected = ["main.py", "--api-key", REDACTED, f"--token={REDACTED}", "--tokens", "5", REDACTED]
    assert REDACTOR.args(argv) == expected


def test_a_login_of_curl_is_hidden() -> None:
    """The user stays, and so do numbers of a user and a group."""
    argv = ["curl", "-u", f"ada:{HUNTER}", "--user", "1000:1000", f"--user=ada:{HUNTER}"]

    expected = ["curl", "-u", f"ada:{REDACTED}", "--user", "1000:1000", f"--user=ada:{REDACTED}"]
    assert REDACTOR.args(argv) == expected


def test_a_secret_flag_without_a_value_hides_nothing_else() -> None:
    """The next flag is a flag."""
    argv = ["run", "--auth", "--port", "80", "--password"]

    assert REDACTOR.args(argv) == argv


def test_a_secret_flag_hides_even_a_plain_word() -> None:
    """On a command line there is no doubt about what is the value."""
    assert REDACTOR.args(["--password", "correct"]) == ["--password", REDACTED]


def test_an_assignment_and_a_header_among_arguments_are_hidden() -> None:
    """Arguments are texts too."""
    argv = ["curl", "-H", f"Authorization: Bearer {HUNTER}", f"PASSWORD={HUNTER}"]

    assert HUNTER not in "".join(REDACTOR.args(argv))


NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from("\"'`\\=:/@-_. \n{}[]();&%<>"),
        st.sampled_from(string.ascii_letters + string.digits),
        st.characters(),
    ),
    max_size=120,
)
FRAGMENTS_OF_SECRETS = (
    *("token", "password", "api_key", "api key", "Bearer ", "Basic ", "Authorization: "),
    *("Cookie: ", "=", ": ", ":", "://", "@", '"', "'", r"\"", "--", "--token ", REDACTED),
    *("-----BEGIN PRIVATE KEY-----", "eyJ", "sk-", "key-"),
)
FRAGMENTS = st.lists(st.one_of(NASTY, st.sampled_from(FRAGMENTS_OF_SECRETS)), max_size=8).map(
    "".join
)
GLUED = st.lists(
    st.one_of(
        NASTY,
        st.sampled_from(FRAGMENTS_OF_SECRETS),
        st.sampled_from(sorted(SHAPES.values())),
    ),
    max_size=12,
).map("".join)


@given(GLUED)
@example("token=" + REDACTED + "x")
@example('password="')
@settings(max_examples=1000)
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    """Any text is taken, and what is redacted is stable."""
    once = REDACTOR.text(text)

    assert REDACTOR.text(once) == once


SAFE_BORDERS = st.sampled_from([" ", "\n", "\t", '"', "'", ",", ";", "(", "=", ": "])


@given(
    st.sampled_from(sorted(SHAPES)), FRAGMENTS, FRAGMENTS, SAFE_BORDERS, st.sampled_from(' \n"),;')
)
@settings(max_examples=500)
def test_no_known_shape_survives_among_other_text(
    name: str, before: str, after: str, left: str, right: str
) -> None:
    """Whatever stands around a credential, it is not found in the result."""
    secret = SHAPES[name]

    assert secret not in REDACTOR.text(before + left + secret + right + after)


@given(
    st.text(string.ascii_letters + DIGITS + "+/!#%^*~_", min_size=6, max_size=80).map("9".__add__),
    NASTY,
    NASTY,
)
def test_no_value_of_a_secret_name_survives_among_other_text(
    secret: str, before: str, after: str
) -> None:
    """Whatever stands around an assignment, its value is not found in the result."""
    text = f'{before}\n"client_secret": "{secret}"\n{after}\npassword={secret}\n'

    assert secret not in REDACTOR.text(text).removeprefix(before)


@given(st.lists(NASTY, max_size=6))
def test_a_command_line_keeps_its_length(argv: list[str]) -> None:
    """Every argument is answered by one string."""
    assert len(REDACTOR.args(argv)) == len(argv)


REPEATED = (
    *("token: ", "key", "a://b:c/", "eyJaaaaaaaaaa-", "token=", 'password=("', "-----BEGIN "),
    *("--a", "sk-", "\\", "password=\\", '"', "SG.aaaaaaaaaaaaaaaa", "Basic aaaaaaaa", "a "),
    *("Bearer a", "xoxb-", "token ", "api_", "?sig=", "-----BEGIN PRIVATE KEY-----"),
    *("%25", "token%3D", "&quot;", "token\\n", "-u a:", "a1", "://a1b2c3", "_A"),
    *("'--token', ", "Authorization: ", "Authorization: A ", "Authorization=A b=", "://a:b"),
    *("token a1B2c3D4e5F6g7H8 ", "M", "jdbc:oracle:a:", "?key=a1", "dp.pt.", "token-", "-a-A"),
)


@pytest.mark.parametrize("piece", REPEATED)
def test_hostile_repetition_is_answered(piece: str) -> None:
    """A catastrophic pattern would not come back from a text of this size in anyone's lifetime."""
    text = piece * (50_000 // len(piece))

    assert isinstance(REDACTOR.text(text + "!"), str)
