"""Credentials to plant in programs: each as its service writes it, none of them real.

They are put together at run time, so that secret scanners find none in this file.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import string
import typing
from dataclasses import dataclass

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DIGITS = string.digits
HEX = DIGITS + "abcdef"
UPPER = DIGITS + string.ascii_uppercase
LOWER = DIGITS + string.ascii_lowercase
MIXED = DIGITS + string.ascii_letters
WIDE = MIXED + "_-"

_WORD = re.compile(rb"[\w+/=~.-]{12,}")
"""All that a secret is made of."""

PIECE = 12
"""Characters of a secret in a row that nobody may see."""


@dataclass(frozen=True)
class Planted:
    """A credential."""

    name: str
    """What it is."""
    text: str
    """All of it, as it would be pasted."""
    secret: str
    """What gives access: nothing of it may be seen. The rest may tell what it was."""

    def seen_in(self, data: bytes) -> bool:
        """Is it, or any `PIECE` of it, to be found?"""
        return any(piece in data for piece in self._pieces())

    def _pieces(self) -> list[bytes]:
        # A key of several lines is stored with each line break as such, or as an escape.
        parts = self.secret.replace("\\n", "\n").split("\n")
        return [
            part[start : start + PIECE].encode()
            for part in parts
            for start in range(len(part) - PIECE + 1)
        ]


def made(name: str, alphabet: str, length: int) -> str:
    """Return letters that look random, the same for each name; a digit is among the first."""
    digits: list[int] = []
    while len(digits) < length:
        digits += hashlib.sha512(f"{name}{len(digits)}".encode()).digest()
    letters = [alphabet[digit % len(alphabet)] for digit in digits[:length]]
    if alphabet[0] == "0":
        letters[2 % length] = "7"
    return "".join(letters)


def seen(planted: Iterable[Planted], data: bytes) -> list[str]:
    """Return the names of those that can be seen, all or in part."""
    words = b" ".join(set(_WORD.findall(data)))  # each once: there is much to look through
    return [credential.name for credential in planted if credential.seen_in(words)]


# --- by their shape -------------------------------------------------------------------------

_PREFIXED: Mapping[str, tuple[str, str, int]] = {
    # Model providers and what stands around them.
    "OpenAI": ("sk-", MIXED, 48),
    "OpenAI project": ("sk-proj-", WIDE, 156),
    "OpenAI service account": ("sk-svcacct-", WIDE, 120),
    "OpenAI admin": ("sk-admin-", WIDE, 120),
    "Anthropic": ("sk-ant-api03-", WIDE, 95),
    "Anthropic admin": ("sk-ant-admin01-", WIDE, 95),
    "Anthropic OAuth": ("sk-ant-oat01-", WIDE, 95),
    "Google API": ("AIza", WIDE, 35),
    "Google AI Studio": ("AQ.Ab8", WIDE, 50),
    "DeepSeek": ("sk-", HEX, 32),
    "OpenRouter": ("sk-or-v1-", HEX, 64),
    "Groq": ("gsk_", MIXED, 52),
    "xAI": ("xai-", MIXED, 80),
    "Hugging Face": ("hf_", string.ascii_letters, 34),
    "Hugging Face organisation": ("api_org_", string.ascii_letters, 34),
    "Replicate": ("r8_", MIXED, 37),
    "Together": ("tgp_v1_", WIDE, 43),
    "Perplexity": ("pplx-", MIXED, 48),
    "Cerebras": ("csk-", LOWER, 48),
    "Fireworks": ("fw_", MIXED, 24),
    "NVIDIA": ("nvapi-", WIDE, 64),
    "Voyage": ("pa-", WIDE, 43),
    "ElevenLabs": ("sk_", HEX, 48),
    "LlamaCloud": ("llx-", MIXED, 48),
    "Langfuse": ("sk-lf-", HEX + "-", 36),
    "Pinecone": ("pcsk_", MIXED + "_", 70),
    "Tavily": ("tvly-dev-", MIXED, 32),
    "Jina": ("jina_", WIDE, 60),
    "Firecrawl": ("fc-", HEX, 32),
    "Logfire": ("pylf_v1_us_", MIXED, 43),
    "Bedrock": ("ABSK", MIXED + "+/", 128),
    # Clouds.
    "AWS key id": ("AKIA", UPPER, 16),
    "AWS session key id": ("ASIA", UPPER, 16),
    "Google OAuth": ("ya29.", WIDE, 180),
    "Google OAuth client": ("GOCSPX-", WIDE, 28),
    "DigitalOcean": ("dop_v1_", HEX, 64),
    "DigitalOcean OAuth": ("doo_v1_", HEX, 64),
    "DigitalOcean refresh": ("dor_v1_", HEX, 64),
    "Databricks": ("dapi", HEX, 32),
    "Alibaba": ("LTAI5t", MIXED, 18),
    "Supabase": ("sbp_", HEX, 40),
    "Supabase secret": ("sb_secret_", WIDE, 31),
    "Vercel": ("vcp_", MIXED, 56),
    "Heroku": ("HRKU-", WIDE, 60),
    "Fly": ("fm2_", MIXED + "+/", 120),
    "Doppler": ("dp.pt.", MIXED, 43),
    "PlanetScale": ("pscale_tkn_", WIDE, 43),
    "PlanetScale password": ("pscale_pw_", WIDE, 43),
    "Neon": ("napi_", LOWER, 64),
    "Vault": ("hvs.", WIDE, 95),
    "Vault batch": ("hvb.", WIDE, 120),
    # Code, packages.
    "GitHub": ("ghp_", MIXED, 36),
    "GitHub OAuth": ("gho_", MIXED, 36),
    "GitHub app": ("ghs_", MIXED, 36),
    "GitHub fine-grained": ("github_pat_", MIXED + "_", 82),
    "GitLab": ("glpat-", WIDE, 20),
    "GitLab runner": ("glrt-", WIDE, 20),
    "GitLab trigger": ("glptt-", HEX, 40),
    "GitLab job": ("glcbt-64_", WIDE, 20),
    "npm": ("npm_", MIXED, 36),
    "PyPI": ("pypi-AgEIcHlwaS5vcmc", WIDE, 150),
    "RubyGems": ("rubygems_", HEX, 48),
    "Docker": ("dckr_pat_", WIDE, 27),
    "Postman": ("PMAK-", HEX, 59),
    # Chat, mail, payment, work.
    "Slack refresh": ("xoxe-1-", MIXED, 146),
    "Stripe": ("sk_live_", MIXED, 99),
    "Stripe test": ("sk_test_", MIXED, 24),
    "Stripe restricted": ("rk_live_", MIXED, 24),
    "Stripe restricted test": ("rk_test_", MIXED, 24),
    "Stripe webhook": ("whsec_", MIXED, 32),
    "Square": ("sq0atp-", WIDE, 22),
    "Shopify": ("shpat_", HEX, 32),
    "Shopify shared secret": ("shpss_", HEX, 32),
    "Twilio": ("SK", HEX, 32),
    "Mailgun": ("key-", HEX, 32),
    "Brevo": ("xkeysib-", HEX, 64),
    "Notion": ("ntn_", MIXED, 46),
    "Linear": ("lin_api_", MIXED, 40),
    "Figma": ("figd_", WIDE, 40),
    "Atlassian": ("ATATT3xFfGF0", WIDE, 160),
    # Watching.
    "Grafana": ("glsa_", MIXED, 41),
    "Grafana Cloud": ("glc_", MIXED, 120),
    "New Relic": ("NRAK-", UPPER, 27),
    "Sentry": ("sntrys_", MIXED, 120),
    "Sentry user": ("sntryu_", HEX, 64),
    "PostHog": ("phx_", MIXED, 43),
    "Dynatrace": ("dt0c01.", UPPER, 24),
    "age": ("AGE-SECRET-KEY-1", UPPER, 58),
}
"""How a key begins, and what follows: of which letters, and how many."""


def _uuid(name: str) -> str:
    hexadecimal = made(name, HEX, 32)
    cuts = (0, 8, 12, 16, 20, 32)
    return "-".join(hexadecimal[i:j] for i, j in itertools.pairwise(cuts))


def _jwt() -> tuple[str, str]:
    parts = ('{"alg":"HS256","typ":"JWT"}', '{"sub":"1234567890","admin":true}')
    head, body = (base64.urlsafe_b64encode(part.encode()).decode().strip("=") for part in parts)
    return f"{head}.{body}.{(signature := made('jwt', WIDE, 43))}", signature


def _pem(label: str, *, headers: str = "", lines: int = 26) -> tuple[str, str]:
    dashes, kind = "-" * 5, f"{label}PRIVATE KEY"
    kind += " BLOCK" if label == "PGP " else ""
    body = "\n".join(made(f"{label}{number}", MIXED + "+/", 64) for number in range(lines))
    return f"{dashes}BEGIN {kind}{dashes}\n{headers}{body}\n{dashes}END {kind}{dashes}\n", body


def _service_account() -> tuple[str, str]:
    key, body = _pem("")
    account = {"type": "service_account", "private_key": key, "client_email": "a@p-1.example"}
    return json.dumps(account), body


def _joined(template: str, secret: str) -> tuple[str, str]:
    return template.format(secret), secret


def _others() -> dict[str, tuple[str, str]]:
    encrypted = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AB12\n\n"
    return {
        "Slack": _joined("xoxb-2847561029384-9182736450918-{}", made("slack", MIXED, 24)),
        "Slack app": _joined("xapp-1-A0B1C2D3E4F-9182736450918-{}", made("slack app", HEX, 64)),
        "SendGrid": _joined("SG.a1B2c3D4e5F6g7H8i9J0k1.{}", made("SendGrid", WIDE, 43)),
        "LangSmith": _joined("lsv2_pt_{}_0a1b2c3d4e", made("LangSmith", HEX, 32)),
        "LangSmith service": _joined("lsv2_sk_{}_0a1b2c3d4e", made("LangSmith 2", HEX, 32)),
        "Telegram": _joined("1928374650:AA{}", made("Telegram", WIDE, 33)),
        "Discord": _joined("MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.{}", made("Discord", WIDE, 38)),
        "Azure client": _joined("a1B8Q~{}", made("Azure", WIDE, 34)),
        "Airtable": _joined("patA1b2C3d4E5f6g7.{}", made("Airtable", HEX, 64)),
        "Mapbox": _joined("sk.eyJ1IjoiYWRhIiwiYSI6ImNsIn0.{}", made("Mapbox", WIDE, 22)),
        "Terraform": _joined("a1B2c3D4e5F6g7.atlasv1.{}", made("Terraform", WIDE, 64)),
        "Mailchimp": _joined("{}-us21", made("Mailchimp", HEX, 32)),
        "DeepL": _joined("{}:fx", _uuid("DeepL")),
        "JWT": _jwt(),
        "PEM": _pem("RSA "),
        "PKCS 8": _pem(""),
        "encrypted PKCS 8": _pem("ENCRYPTED "),
        "encrypted PEM": _pem("RSA ", headers=encrypted),
        "EC PEM": _pem("EC ", lines=3),
        "SSH": _pem("OPENSSH ", lines=6),
        "PGP": _pem("PGP "),
        "PEM in one line": (_pem("DSA ")[0].replace("\n", "\\n"), _pem("DSA ")[1]),
        "Google service account": _service_account(),
    }


def _urls() -> dict[str, tuple[str, str]]:
    url = {
        "PostgreSQL": "postgresql+psycopg://ada:{}@db.example:5432/x?sslmode=require",
        "MySQL": "mysql://ada:{}@db.example/x",
        "MongoDB": "mongodb+srv://ada:{}@cluster0.example/?retryWrites=true",
        "Redis": "redis://:{}@cache.example:6379/0",
        "RabbitMQ": "amqps://ada:{}@mq.example/vhost",
        "basic auth in a URL": "https://ada:{}@git.example/x.git",
        "proxy": "http://ada:{}@proxy.example:8080",
        "user alone in a URL": "https://{}@git.example/x.git",
        "Sentry DSN": "https://{}@o12.ingest.example/42",
        "ODBC": "Driver={{ODBC Driver 18}};Server=db.example;UID=ada;PWD={};Encrypt=yes",
        "SQL Server": "Server=db.example;User Id=ada;Password={};Encrypt=True",
        "JDBC": "jdbc:postgresql://db.example/x?user=ada&password={}",
        "JDBC of Oracle": "jdbc:oracle:thin:ada/{}@db.example:1521/x",
        "libpq": "host=db.example user=ada password={} dbname=x",
        "Azure storage": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};Suffix=b",
        "Azure service bus": "Endpoint=sb://a.example/;SharedAccessKeyName=k;SharedAccessKey={}",
        "Azure SAS": "https://a.example/c?sv=2022-11-02&se=2030-01-01&sr=b&sp=r&sig={}",
        "AWS signed URL": "https://b.example/k?X-Amz-Expires=60&X-Amz-Signature={}",
        "Google signed URL": "https://b.example/k?X-Goog-Expires=60&X-Goog-Signature={}",
        "CloudFront signed URL": "https://b.example/k?Expires=60&Signature={}&Key-Pair-Id=K1",
        "key in a query": "https://api.example/v1?alt=json&key={}",
        "token in a query": "https://api.example/v1?access_token={}&x=1",
        "code in a query": "https://app.example/cb?code={}&state=x",
        "Slack webhook": "https://hooks.slack.com/services/T0ABCDEF1/B0ABCDEF1/{}",
        "Discord webhook": "https://discord.com/api/webhooks/123456789012345678/{}AAAAAAAAAAAA",
        "bearer header": "Authorization: Bearer {}",
        "basic header": "Authorization: Basic {}",
        "digest header": 'Authorization: Digest username="a", nonce="n", response="{}"',
        "API key header": "X-Api-Key: {}",
        "Google key header": "x-goog-api-key: {}",
        "cookie header": "Cookie: theme=dark; sid={}",
        "set-cookie header": "Set-Cookie: sid={}; Secure; HttpOnly",
        "npmrc": "//registry.npmjs.example/:_authToken={}",
        "netrc": "machine git.example login ada password {}",
        "curl": "curl -u ada:{} https://api.example",
    }
    found = {name: _joined(text, made(name, MIXED, 40)) for name, text in url.items()}
    encoded = base64.b64encode(f"ada:{made('basic', MIXED, 24)}".encode()).decode()
    found["basic header"] = _joined("Authorization: Basic {}", encoded)
    return found


def _all_of(found: Mapping[str, tuple[str, str]]) -> tuple[Planted, ...]:
    return tuple(Planted(name, text, secret) for name, (text, secret) in found.items())


PREFIXED = _all_of(
    {
        name: _joined(f"{prefix}{{}}", made(name, letters, length))
        for name, (prefix, letters, length) in _PREFIXED.items()
    }
)
"""Keys that give themselves away by how they begin."""

SHAPED = PREFIXED + _all_of(_others())
"""Credentials that give themselves away wherever they stand."""

SENTENCES = _all_of(_urls())
"""Credentials in a URL, a header or a connection string, which tells what they are."""

NAMED: Mapping[str, tuple[str, int]] = {
    "aws_secret_access_key": (MIXED + "+/", 40),
    "AWS_SESSION_TOKEN": (MIXED + "+/", 360),
    "azure_client_secret": (WIDE, 34),
    "AccountKey": (MIXED + "+/", 86),
    "AZURE_OPENAI_API_KEY": (HEX, 32),
    "MISTRAL_API_KEY": (MIXED, 32),
    "cohereApiKey": (MIXED, 40),
    "together_api_key": (HEX, 64),
    "weaviate_api_key": (MIXED, 36),
    "TWILIO_AUTH_TOKEN": (HEX, 32),
    "DD_API_KEY": (HEX, 32),
    "VERCEL_TOKEN": (MIXED, 24),
    "WANDB_API_KEY": (HEX, 40),
    "client_secret": (MIXED, 40),
    "refreshToken": (WIDE, 60),
    "db_password": (MIXED, 20),
    "webhook-secret": (HEX, 40),
    "Authorization": (MIXED, 40),
    "Proxy-Authorization": (MIXED, 40),
    "X-Api-Key": (MIXED, 32),
    "Cookie": (MIXED, 40),
    "Set-Cookie": (MIXED, 40),
    "passphrase": (MIXED, 24),
    "encryption_key": (HEX, 64),
    "DJANGO_SECRET_KEY": (MIXED, 50),
}
"""Names that tell that what stands under them is a secret, which looks like any other text."""


def named() -> list[Planted]:
    """Return a secret for each of the names; the text is the secret alone."""
    return [
        Planted(name, (secret := made(name, letters, length)), secret)
        for name, (letters, length) in NAMED.items()
    ]
