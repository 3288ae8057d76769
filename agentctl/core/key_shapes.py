"""Find keys of well-known shapes in a text of any size."""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

Check = Callable[[str], bool]


class FoundSecret(NamedTuple):
    """A part of a text that is a secret; ``kind`` names its kind without revealing the secret."""

    start: int
    end: int
    kind: str


class KeyShape(NamedTuple):
    """One kind of key. ``marks`` are literals of which every key of the kind contains one, for a quick pre-check.

    ``pattern`` is matched at a mark, or ``before`` characters earlier; ``check`` decides about the secret.
    """

    kind: str
    marks: tuple[str, ...]
    pattern: str
    before: tuple[int, ...] = (0,)
    check: Check | None = None


def is_mixed(text: str) -> bool:
    """Return whether letters are mixed with digits, or capitals with small letters, as in random text but not in
    words.
    """
    if len(set(text)) < 7 or not any(map(str.isalpha, text)):
        return False
    return any(map(str.isdigit, text)) or len(re.findall("[a-z][A-Z]", text)) > 2


def _is_dense(text: str) -> bool:
    """Return whether ``text`` has a digit and sixteen letters and digits in a row, which names in kebab case do not
    have.
    """
    return is_mixed(text) and re.search("[A-Za-z0-9]{16}", text) is not None


def _is_password(text: str) -> bool:
    """Return whether the user information of an address holds a password that is not a variable or a placeholder."""
    return not re.fullmatch(r"\$\{?\w+\}?|\$?\(.*\)|\{+[\w.]*\}+|%\(?\w+\)?s?|\*+|\.+|x+|<.*", text.partition(":")[2])


def _is_user_and_password(text: str) -> bool:
    """Return whether Base64 holds ``user:password``."""
    try:
        plain = a2b_base64(text + "=" * (-len(text) % 4))
    except (Error, ValueError):
        return False
    return b":" in plain and all(32 <= byte < 127 for byte in plain)


_IS = r"""["'\\]{0,3}\s{0,8}(?:=>|:=|[:=])\s{0,8}["'\\]{0,3}"""  # the text between a name and its value

#: Keys that are recognised by themselves: the whole match is the secret, and begins a word.
WORDS = (
    KeyShape("anthropic-key", ("sk-ant-",), r"sk-ant-[\w-]{20,400}", check=is_mixed),
    KeyShape("openai-key", ("sk-",), r"sk-(?!ant-)[\w-]{20,400}", check=_is_dense),
    KeyShape("xai-key", ("xai-",), r"xai-[A-Za-z0-9]{40,200}", check=is_mixed),
    KeyShape("groq-key", ("gsk_",), r"gsk_[A-Za-z0-9]{40,200}", check=is_mixed),
    KeyShape("perplexity-key", ("pplx-",), r"pplx-[A-Za-z0-9]{40,200}", check=is_mixed),
    KeyShape("replicate-token", ("r8_",), r"r8_[A-Za-z0-9]{37,40}(?!\w)", check=is_mixed),
    KeyShape("huggingface-token", ("hf_",), r"hf_[A-Za-z0-9]{30,100}"),
    KeyShape("aws-key-id", ("AKIA", "ASIA", "ABIA", "ACCA"), r"A(?:KIA|SIA|BIA|CCA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
    KeyShape("aws-bedrock-key", ("ABSK",), r"ABSK[A-Za-z0-9+/]{100,300}={0,2}"),
    KeyShape("google-api-key", ("AIza",), r"AIza[\w-]{35}(?![\w-])"),
    KeyShape("google-oauth-token", ("ya29.",), r"ya29\.[\w.-]{20,2000}"),
    KeyShape("google-client-secret", ("GOCSPX-",), r"GOCSPX-[\w-]{20,60}"),
    KeyShape("google-refresh-token", ("1//0",), r"1//0[\w-]{40,200}", check=is_mixed),
    KeyShape("github-token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9_]{30,255}"),
    KeyShape("github-token", ("github_pat_",), r"github_pat_\w{30,255}"),
    KeyShape(
        "gitlab-token",
        ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glft-", "glimt-", "glagent-", "glsoat-", "glffct-", "gloas-"),
        r"gl[a-z]{2,5}-[\w.-]{20,300}",
    ),
    KeyShape("slack-token", ("xox",), r"xox[a-z](?:\.xox[a-z])?-[\w-]{10,300}", check=is_mixed),
    KeyShape("slack-token", ("xapp-",), r"xapp-\d-[\w-]{20,300}"),
    KeyShape(
        "stripe-key", ("sk_live_", "sk_test_", "rk_live_", "rk_test_"), r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}"
    ),
    KeyShape("stripe-webhook-secret", ("whsec_",), r"whsec_[A-Za-z0-9+/]{24,100}={0,2}"),
    KeyShape("sendgrid-key", ("SG.",), r"SG\.[\w-]{16,32}\.[\w-]{16,64}"),
    KeyShape("twilio-key", ("SK",), r"SK[0-9a-f]{32}(?![0-9A-Za-z])"),
    KeyShape("mailgun-key", ("key-",), r"(?<![-_])key-[0-9a-f]{32}(?![\w-])"),
    KeyShape("vault-token", ("hvs.", "hvb.", "hvr."), r"hv[sbr]\.[\w-]{24,400}"),
    KeyShape("jwt", ("eyJ",), r"eyJ[\w-]{8,4000}\.eyJ[\w-]{8,8000}\.[\w-]{8,4000}"),
    KeyShape("jwt", ("eyJ",), r"eyJ[\w-]{8,4000}\.[\w-]{0,1000}\.[\w-]{10,100}\.[\w-]{8,16000}\.[\w-]{16,64}"),
    KeyShape("dockerhub-token", ("dckr_pat_", "dckr_oat_"), r"dckr_[po]at_[\w-]{20,100}"),
    KeyShape("npm-token", ("npm_",), r"npm_[A-Za-z0-9]{30,100}"),
    KeyShape("pypi-token", ("pypi-",), r"pypi-[\w-]{40,400}", check=_is_dense),
    KeyShape("rubygems-key", ("rubygems_",), r"rubygems_[0-9a-f]{48}"),
    KeyShape("crates-token", ("cio",), r"cio[A-Za-z0-9]{32}(?!\w)", check=is_mixed),
    KeyShape("digitalocean-token", ("dop_v1_", "doo_v1_", "dor_v1_"), r"do[por]_v1_[0-9a-f]{64}"),
    KeyShape("shopify-token", ("shpat_", "shpca_", "shppa_", "shpss_"), r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    KeyShape("databricks-token", ("dapi",), r"dapi[0-9a-f]{32}(?:-\d)?(?!\w)"),
    KeyShape("cloudflare-key", ("v1.0-",), r"v1\.0-[0-9a-f]{24}-[0-9a-f]{100,200}"),
    KeyShape("grafana-token", ("glsa_", "glc_"), r"gl(?:sa|c)_[\w+/=-]{30,400}", check=is_mixed),
    KeyShape("newrelic-key", ("NRAK-",), r"NRAK-[A-Z0-9]{27}"),
    KeyShape("sentry-token", ("sntrys_", "sntryu_"), r"sntry[su]_[\w+/=-]{40,400}"),
    KeyShape("linear-key", ("lin_api_",), r"lin_api_[A-Za-z0-9]{32,64}"),
    KeyShape("notion-token", ("ntn_", "secret_"), r"(?:ntn_|secret_)[A-Za-z0-9]{40,60}(?!\w)", check=is_mixed),
    KeyShape("postman-key", ("PMAK-",), r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    KeyShape("pulumi-token", ("pul-",), r"pul-[0-9a-f]{40}(?!\w)"),
    KeyShape("doppler-token", ("dp.",), r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{40,80}"),
    KeyShape("tailscale-key", ("tskey-",), r"tskey-[a-z]{3,8}-[\w-]{20,100}"),
    KeyShape("flyio-token", ("fm2_",), r"fm2_[A-Za-z0-9+/=,_]{60,8000}"),
    KeyShape("agentctl-lease", ("agentctl-lease-1.",), r"agentctl-lease-1\.[\w-]{40,1000}\.[\w-]{40,200}"),
    KeyShape("agentctl-lease-key", ("agentctl-lease-private-1:",), r"agentctl-lease-private-1:[\w-]{40,60}"),
    KeyShape("supabase-token", ("sbp_",), r"sbp_[0-9a-f]{40}"),
    KeyShape("planetscale-token", ("pscale_tkn_", "pscale_pw_", "pscale_oauth_"), r"pscale_[a-z]{2,5}_[\w.=-]{32,64}"),
    KeyShape("square-token", ("sq0csp-", "sq0atp-"), r"sq0(?:csp|atp)-[\w-]{20,60}"),
    KeyShape("atlassian-token", ("ATATT3",), r"ATATT3[\w=+/-]{60,300}"),
    KeyShape("mapbox-token", ("sk.eyJ",), r"sk\.eyJ[\w-]{40,300}\.[\w-]{16,40}"),
    KeyShape("age-key", ("AGE-SECRET-KEY-1",), r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    KeyShape("mailchimp-key", ("-us",), r"[0-9a-f]{32}-us\d{1,2}(?![\w-])", before=(32,)),
    KeyShape("terraform-token", (".atlasv1.",), r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,200}", before=(14,)),
    KeyShape("telegram-token", (":AA",), r"\d{8,10}:AA[\w-]{33}(?![\w-])", before=(10, 9, 8)),
    KeyShape("azure-client-secret", ("8Q~",), r"\w{3}8Q~[\w~.-]{31,34}(?![\w~-])", before=(3,)),
)

#: Secrets that are recognised by the text beside them: group 1 of the pattern.
IN_CONTEXT = (
    KeyShape(
        "aws-secret-key",
        ("secret", "Secret", "SECRET"),
        rf"(?i:secret[_ -]?(?:access)?[_ -]?key){_IS}([A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])",
        check=is_mixed,
    ),
    KeyShape(
        "aws-session-token",
        ("session", "Session", "SESSION"),
        rf"(?i:session_?token){_IS}([A-Za-z0-9/+=]{{100,2000}})",
    ),
    KeyShape(
        "slack-webhook",
        ("hooks.slack.com/",),
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9_/-]{20,200})",
    ),
    KeyShape(
        "twilio-token",
        ("wilio", "WILIO"),
        rf"(?i:wilio[\w -]{{0,12}}token){_IS}([0-9a-f]{{32}})(?![0-9A-Za-z])",
    ),
    KeyShape(
        "mailgun-key",
        ("ailgun", "AILGUN"),
        rf"(?i:ailgun[\w -]{{0,16}}key){_IS}([0-9a-f]{{32}}-[0-9a-f]{{8}}-[0-9a-f]{{8}})",
    ),
    KeyShape("vault-token", ("oken", "OKEN"), rf"(?i:oken)(?:{_IS}|\s{{1,20}})(s\.[A-Za-z0-9]{{24}})(?![\w.])"),
    KeyShape(
        "docker-auth",
        ('"auth"', '\\"auth\\"'),
        r"""\\?"auth\\?"\s{0,8}:\s{0,8}\\?"([A-Za-z0-9+/]{8,4000}={0,2})\\?\"""",
        check=_is_user_and_password,
    ),
    KeyShape(
        "docker-auth",
        ("identitytoken", "registrytoken"),
        rf"(?:identity|registry)token{_IS}([A-Za-z0-9+/=_.-]{{16,4000}})",
    ),
    KeyShape(
        "npm-token", ("_authToken", ":_auth", ":_password"), r"(?:_authToken|:_auth|:_password)=([\w+/=.-]{8,400})"
    ),
    KeyShape(
        "discord-token",
        ("oken", "OKEN", "Bot "),
        rf"(?:(?i:oken){_IS}|Bot )([A-Za-z0-9][\w-]{{22,27}}\.[\w-]{{6}}\.[\w-]{{25,110}})(?![\w.])",
    ),
    KeyShape(
        "discord-webhook",
        ("discord.com/api/webhooks/", "discordapp.com/api/webhooks/"),
        r"discord(?:app)?\.com/api/webhooks/(\d{15,20}/[\w-]{40,100})",
    ),
    KeyShape("azure-account-key", ("AccountKey=", "AccessKey="), r"Acc(?:ount|ess)Key=([A-Za-z0-9+/]{40,100}={0,2})"),
    KeyShape("azure-signature", ("sig=",), r"sig=([A-Za-z0-9+/%]{40,120}(?:%3D|=))", check=is_mixed),
    KeyShape("bearer-token", ("earer ", "EARER "), r"(?i:earer) {1,4}([A-Za-z0-9][\w.~+/=-]{18,4000})", check=is_mixed),
    KeyShape(
        "basic-auth", ("asic ", "ASIC "), r"(?i:asic) {1,4}([A-Za-z0-9+/]{8,400}={0,2})", check=_is_user_and_password
    ),
    KeyShape(
        "private-key",
        ("-----BEGIN ",),
        r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?:[^-]|-(?!----)){0,20000}-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"|(?:(?>(?:\\[nrt]|[\s\"',|>+])*)(?:[A-Z][\w-]{2,20}: [^\n\\\"]{1,80}|[A-Za-z0-9+/=]{16,}(?![^\s\\\"',])))*"
        r"(?:(?:\\[nrt]|\s){1,4}[^\n-]{0,76}\Z)?))",  # its end is missing
    ),
    KeyShape(
        "url-password",
        ("://",),
        r"""://([^\s/:@"'<>\[\]]{0,256}:[^\s/@"'<>]{1,1024})@(?=[\w\[{$%-])""",
        check=_is_password,
    ),
)

_SMALL = 48  # length in characters up to which a first search for any mark is faster
_BLOCK = 64 * 1024
_LONGEST_MARK = 32
_SHORTEST_WORD = 15
_RUN = re.compile(r"[\w-]*", re.ASCII)
# Few texts need these, so they are compiled on first use: compiling takes a millisecond.
_END = r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY"
_REVERSED_BODY = r"(?:(?>(?:[nrt]\\|[\s\"',|>+])*)[A-Za-z0-9+/=]{16,}){1,400}"
_JOINT = r"(?:\\[nrtbfv]|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\x1b\[[0-9;]{0,12}m)\Z"


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


_MARKS = (*dict.fromkeys(mark for shape in (*WORDS, *IN_CONTEXT) for mark in shape.marks), "-----END ")


def find_keys(text: str) -> Iterator[FoundSecret]:
    """Yield the parts with the shape of a well-known key; spans of several shapes may overlap.

    The time is linear in the length of the text: patterns are bounded, and a run of characters that failed is skipped.
    """
    if len(text) <= _SMALL and not any(map(text.__contains__, _MARKS)):
        return
    long_words = text if len(text) <= 8 * _SMALL else "\n".join(_long_words(text))
    for shape in WORDS:
        for mark in shape.marks:
            if mark in long_words:
                yield from _matches(text, shape, mark, is_word=True)
    for shape in IN_CONTEXT:
        for mark in shape.marks:
            if mark in text:
                yield from _matches(text, shape, mark, is_word=False)
    yield from _headless_keys(text)


def _long_words(text: str) -> Iterator[str]:
    """Yield the words that are long enough for a key; searching only these for marks is faster.

    The text is split into blocks to save memory; words at their edges may be incomplete, and count.
    """
    for start in range(0, len(text), _BLOCK):
        words = text[start : start + _BLOCK + _LONGEST_MARK].split()
        yield from words[:1]
        yield from (word for word in words if len(word) >= _SHORTEST_WORD)
        yield from words[-1:]


def _matches(text: str, shape: KeyShape, mark: str, *, is_word: bool) -> Iterator[FoundSecret]:
    pattern, group = _compile(shape.pattern), 0 if is_word else 1
    at = text.find(mark)
    while at >= 0:
        starts = [at - before for before in shape.before if before <= at]
        if is_word:
            starts = [start for start in starts if _begins_word(text, start)]
        match = next(filter(None, (pattern.match(text, start) for start in starts)), None)
        end = at + len(mark)
        if match is not None and (shape.check is None or shape.check(match[group])):
            yield FoundSecret(*match.span(group), shape.kind)
            end = max(end, match.end())
        elif is_word and starts:
            # A failed match also fails at each later place of the same run: without this check, a hostile text takes
            # quadratic time.
            end = max(end, _RUN.match(text, at).end())  # type: ignore[union-attr]
        at = text.find(mark, end)


def _begins_word(text: str, start: int) -> bool:
    """Return whether a word begins here: after punctuation, or after an escape that ends with a letter or digit."""
    if not start or not text[start - 1].isalnum():
        return True
    return re.compile(_JOINT).search(text, max(0, start - 16), start) is not None


def _headless_keys(text: str) -> Iterator[FoundSecret]:
    """Yield the lines of private keys whose first line is missing; matched backwards, in linear time."""
    at = text.find("-----END ")
    while at >= 0:
        if re.compile(_END).match(text, at):
            body = re.match(_REVERSED_BODY, text[max(0, at - 12_000) : at][::-1])
            if body is not None:
                yield FoundSecret(at - body.end(), at, "private-key")
        at = text.find("-----END ", at + 9)
