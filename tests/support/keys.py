"""Random keys of every shape, in the places where they occur: env files, JSON, YAML, logs, command lines."""

from __future__ import annotations

import json
import string
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

ALNUM = string.ascii_letters + string.digits
URL = ALNUM + "_-"
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits

WORD_CONTEXTS = (
    "API_KEY={}",
    'export SERVICE_TOKEN="{}"',
    '{{"key": "{}", "n": 1}}',
    "  token: {}",
    "  token: '{}'",
    "2026-11-29T01:02:03Z INFO web.auth using {} for client 7",
    "curl -sH 'X-Api-Key: {}' https://api.example.com/v1/things",
    "curl https://api.example.com/v1?key={}&page=2",
    "    Environment=KEY={}",
    '      "Env": ["A=1", "KEY={}", "B=2"],',
    "the token is {}.",
    "{}",
    r'{{"file": "A=1\nKEY={}\nB=2\n"}}',
    r'{{"file": "A=1\n{}\n"}}',
    "web-1  | key={}, retrying",
    r"\x1b[32m{}\x1b[0m",
    "redirect=https%3A%2F%2Fx%2F%3Fkey%3D{}",
    "INSERT INTO t VALUES (1, '{}');",
    "- {} # production",
    "config.set('key', `{}`)",
)


class Sample(NamedTuple):
    """A text that holds ``secret``, a key of ``kind``."""

    kind: str
    text: str
    secret: str


def chars(rng: Random, alphabet: str, count: int) -> str:
    return "".join(rng.choices(alphabet, k=count))


def _base64(rng: Random, size: int) -> str:
    return b64encode(rng.randbytes(size)).decode()


def _jwt(rng: Random) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": chars(rng, ALNUM, 12), "iat": rng.randrange(10**9)}]
    texts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*texts, chars(rng, URL, 43)))


WORDS: dict[str, Callable[[Random], str]] = {
    "anthropic-key": lambda rng: f"sk-ant-api03-{chars(rng, URL, 93)}AA",
    "openai-key": lambda rng: f"sk-{chars(rng, ALNUM, 20)}T3BlbkFJ{chars(rng, ALNUM, 20)}",
    "openai-key project": lambda rng: f"sk-proj-{chars(rng, URL, 74)}T3BlbkFJ{chars(rng, URL, 74)}",
    "openai-key service": lambda rng: f"sk-svcacct-{chars(rng, URL, 74)}T3BlbkFJ{chars(rng, URL, 74)}",
    "openai-key router": lambda rng: f"sk-or-v1-{chars(rng, HEX, 64)}",
    "openai-key deepseek": lambda rng: f"sk-{chars(rng, HEX, 32)}",
    "xai-key": lambda rng: f"xai-{chars(rng, ALNUM, 80)}",
    "groq-key": lambda rng: f"gsk_{chars(rng, ALNUM, 52)}",
    "perplexity-key": lambda rng: f"pplx-{chars(rng, ALNUM, 48)}",
    "replicate-token": lambda rng: f"r8_{chars(rng, ALNUM, 37)}",
    "huggingface-token": lambda rng: f"hf_{chars(rng, string.ascii_letters, 34)}",
    "aws-key-id": lambda rng: f"AKIA{chars(rng, UPPER, 16)}",
    "aws-key-id session": lambda rng: f"ASIA{chars(rng, UPPER, 16)}",
    "google-api-key": lambda rng: f"AIza{chars(rng, URL, 34)}{chars(rng, ALNUM, 1)}",
    "google-oauth-token": lambda rng: f"ya29.a0{chars(rng, URL, 180)}",
    "google-client-secret": lambda rng: f"GOCSPX-{chars(rng, URL, 28)}",
    "google-refresh-token": lambda rng: f"1//0{chars(rng, URL, 98)}",
    "github-token": lambda rng: f"ghp_{chars(rng, ALNUM, 36)}",
    "github-token oauth": lambda rng: f"gho_{chars(rng, ALNUM, 36)}",
    "github-token user": lambda rng: f"ghu_{chars(rng, ALNUM, 36)}",
    "github-token server": lambda rng: f"ghs_{chars(rng, ALNUM, 36)}",
    "github-token refresh": lambda rng: f"ghr_{chars(rng, ALNUM, 76)}",
    "github-token fine": lambda rng: f"github_pat_{chars(rng, ALNUM, 22)}_{chars(rng, ALNUM, 59)}",
    "gitlab-token": lambda rng: f"glpat-{chars(rng, ALNUM, 20)}",
    "gitlab-token deploy": lambda rng: f"gldt-{chars(rng, ALNUM, 20)}",
    "gitlab-token runner": lambda rng: f"glrt-{chars(rng, ALNUM, 20)}",
    "slack-token": lambda rng: (
        f"xoxb-{chars(rng, string.digits, 12)}-{chars(rng, string.digits, 12)}-{chars(rng, ALNUM, 24)}"
    ),
    "slack-token user": lambda rng: f"xoxp-{chars(rng, string.digits, 12)}-{chars(rng, HEX, 32)}",
    "slack-token app": lambda rng: (
        f"xapp-1-{chars(rng, UPPER, 11)}-{chars(rng, string.digits, 13)}-{chars(rng, HEX, 64)}"
    ),
    "stripe-key": lambda rng: f"sk_live_{chars(rng, ALNUM, 24)}",
    "stripe-key restricted": lambda rng: f"rk_live_{chars(rng, ALNUM, 99)}",
    "stripe-webhook-secret": lambda rng: f"whsec_{chars(rng, ALNUM, 32)}",
    "sendgrid-key": lambda rng: f"SG.{chars(rng, URL, 21)}a.{chars(rng, URL, 42)}b",
    "twilio-key": lambda rng: f"SK{chars(rng, HEX, 32)}",
    "mailgun-key": lambda rng: f"key-{chars(rng, HEX, 32)}",
    "mailchimp-key": lambda rng: f"{chars(rng, HEX, 32)}-us{rng.randrange(1, 22)}",
    "vault-token": lambda rng: f"hvs.{chars(rng, URL, 94)}c",
    "vault-token batch": lambda rng: f"hvb.{chars(rng, URL, 140)}c",
    "terraform-token": lambda rng: f"{chars(rng, ALNUM, 14)}.atlasv1.{chars(rng, ALNUM, 67)}",
    "jwt": _jwt,
    "dockerhub-token": lambda rng: f"dckr_pat_{chars(rng, URL, 26)}d",
    "npm-token": lambda rng: f"npm_{chars(rng, ALNUM, 36)}",
    "pypi-token": lambda rng: f"pypi-AgEIcHlwaS5vcmc{chars(rng, URL, 150)}e",
    "rubygems-key": lambda rng: f"rubygems_{chars(rng, HEX, 48)}",
    "crates-token": lambda rng: f"cio{chars(rng, ALNUM, 32)}",
    "digitalocean-token": lambda rng: f"dop_v1_{chars(rng, HEX, 64)}",
    "shopify-token": lambda rng: f"shpat_{chars(rng, HEX, 32)}",
    "telegram-token": lambda rng: f"{rng.randrange(10**8, 10**10)}:AA{chars(rng, URL, 32)}f",
    "azure-client-secret": lambda rng: f"{chars(rng, ALNUM, 3)}8Q~{chars(rng, ALNUM + '_~.-', 33)}g",
    "databricks-token": lambda rng: f"dapi{chars(rng, HEX, 32)}",
    "grafana-token": lambda rng: f"glsa_{chars(rng, ALNUM, 32)}_{chars(rng, HEX, 8)}",
    "newrelic-key": lambda rng: f"NRAK-{chars(rng, UPPER, 27)}",
    "linear-key": lambda rng: f"lin_api_{chars(rng, ALNUM, 40)}",
    "notion-token": lambda rng: f"ntn_{chars(rng, ALNUM, 46)}",
    "postman-key": lambda rng: f"PMAK-{chars(rng, HEX, 24)}-{chars(rng, HEX, 34)}",
    "pulumi-token": lambda rng: f"pul-{chars(rng, HEX, 40)}",
    "doppler-token": lambda rng: f"dp.pt.{chars(rng, ALNUM, 43)}",
    "tailscale-key": lambda rng: f"tskey-auth-{chars(rng, ALNUM, 16)}-{chars(rng, ALNUM, 32)}",
    "agentctl-lease": lambda rng: f"agentctl-lease-1.{chars(rng, URL, 230)}.{chars(rng, URL, 85)}i",
    "agentctl-lease-key": lambda rng: f"agentctl-lease-private-1:{chars(rng, URL, 42)}j",
    "supabase-token": lambda rng: f"sbp_{chars(rng, HEX, 40)}",
    "square-token": lambda rng: f"sq0csp-{chars(rng, URL, 42)}h",
    "atlassian-token": lambda rng: f"ATATT3xFfGF0{chars(rng, URL, 170)}={chars(rng, UPPER, 8)}",
    "age-key": lambda rng: f"AGE-SECRET-KEY-1{chars(rng, UPPER, 58)}",
}


def _pem(rng: Random, name: str, lines: int = 12) -> str:
    body = "\n".join(chars(rng, ALNUM + "+/", 64) for _ in range(lines))
    return f"-----BEGIN {name}-----\n{body}\n{chars(rng, ALNUM, 22)}==\n-----END {name}-----"


def _beside(kind: str, secret: str, *contexts: str) -> Iterator[Sample]:
    yield from (Sample(kind, context.replace("{}", secret), secret) for context in contexts)


def in_context(rng: Random) -> Iterator[Sample]:
    """Yield secrets that only their context reveals."""
    yield from _beside(
        "aws-secret-key",
        chars(rng, ALNUM + "/+", 40),
        "aws_secret_access_key = {}",
        "AWS_SECRET_ACCESS_KEY={}",
        '"SecretAccessKey": "{}",',
        "  secretAccessKey: {}",
    )
    yield from _beside(
        "aws-session-token", _base64(rng, 300), "aws_session_token={}", "AWS_SESSION_TOKEN={}", '"SessionToken": "{}"'
    )
    yield from _beside(
        "slack-webhook",
        f"T{chars(rng, UPPER, 8)}/B{chars(rng, UPPER, 8)}/{chars(rng, ALNUM, 24)}",
        "SLACK_URL=https://hooks.slack.com/services/{}",
        'curl -d "{}" https://hooks.slack.com/services/{}'.replace('"{}"', "'{}'", 1).replace("'{}'", "'x'"),
    )
    yield from _beside(
        "discord-webhook",
        f"{chars(rng, string.digits, 18)}/{chars(rng, URL, 67)}i",
        "url: https://discord.com/api/webhooks/{}",
    )
    yield from _beside("twilio-token", chars(rng, HEX, 32), "TWILIO_AUTH_TOKEN={}", '"twilioAuthToken": "{}"')
    mailgun = f"{chars(rng, HEX, 32)}-{chars(rng, HEX, 8)}-{chars(rng, HEX, 8)}"
    yield from _beside("mailgun-key", mailgun, "MAILGUN_API_KEY={}", '"mailgun_key": "{}"')
    yield from _beside(
        "vault-token", f"s.{chars(rng, ALNUM, 24)}", "VAULT_TOKEN={}", "X-Vault-Token: {}", "token          {}"
    )
    login = b64encode(f"app:{chars(rng, ALNUM, 20)}".encode()).decode()
    yield from _beside("docker-auth", login, '      "auth": "{}"', r'"{\"auths\":{\"r\":{\"auth\":\"{}\"}}}"')
    yield from _beside("docker-auth", chars(rng, URL, 400), '"identitytoken": "{}"')
    yield from _beside("basic-auth", login, "Authorization: Basic {}", "curl -H 'authorization: basic {}' https://x.y")
    yield from _beside(
        "bearer-token",
        chars(rng, URL, 63) + "j",
        "Authorization: Bearer {}",
        "curl -H 'authorization: bearer {}' https://api.example.com",
        '"headers": {"Authorization": "Bearer {}"}',
    )
    yield from _beside("npm-token", chars(rng, HEX, 32), "//registry.example.com/:_authToken={}", "//r/:_password={}")
    discord = f"M{chars(rng, ALNUM, 23)}.{chars(rng, ALNUM, 6)}.{chars(rng, URL, 37)}k"
    yield from _beside("discord-token", discord, "DISCORD_TOKEN={}", "Authorization: Bot {}", 'token: "{}"')
    account = b64encode(rng.randbytes(64)).decode()
    yield from _beside(
        "azure-account-key",
        account,
        "DefaultEndpointsProtocol=https;AccountName=x;AccountKey={};EndpointSuffix=core.windows.net",
    )
    signature = b64encode(rng.randbytes(32)).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    yield from _beside("azure-signature", signature, "https://x.blob.core.windows.net/c?sv=2024-11-04&sig={}")
    login = f"app:{chars(rng, ALNUM, 14)}"
    yield from _beside(
        "url-password",
        login,
        "DATABASE_URL=postgres://{}@db:5432/app",
        "redis://{}@cache:6379/0",
        '"url": "mongodb+srv://{}@cluster0.example.net/x?retryWrites=true"',
        "git clone https://{}@git.example.com/a/b.git",
        "connecting to amqp://{}@mq.internal//vhost failed",
    )
    for name in ("RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "EC PRIVATE KEY", "PGP PRIVATE KEY BLOCK"):
        pem = _pem(rng, name)
        yield Sample("private-key", f"before\n{pem}\nafter", pem)
        indented = "\n".join(f"    {line}" for line in pem.split("\n"))
        yield Sample("private-key", f"key: |\n{indented}\nnext: 1", indented.strip())
        written = pem.replace("\n", "\\n")
        yield Sample("private-key", f'{{"type": "service_account", "private_key": "{written}\\n"}}', written)


def samples(seed: int, rounds: int) -> Iterator[Sample]:
    """Yield keys of every shape, each of ``rounds`` in each of its contexts."""
    rng = Random(seed)
    for _ in range(rounds):
        for name, make in WORDS.items():
            for context in WORD_CONTEXTS:
                key = make(rng)
                yield Sample(name.split()[0], context.format(key), key)
        yield from in_context(rng)
