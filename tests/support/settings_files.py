"""Write what follows from the settings: the flags of ``agentctl run``, config.toml with every setting, .env.example.

``python -m tests.support.settings_files`` writes them, with ``--check`` it names those that differ and exits with 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from agentctl.settings import Settings
from agentctl.settings.declaration import SECTIONS, Declaration, Flag
from agentctl.settings.names import DECLARED

ROOT = Path(__file__).parents[2]
_WIDTH = 120
_COMMAND = "python -m tests.support.settings_files"

_FLAGS_HEAD = f'''"""The flags of ``agentctl run`` that set settings, by field: written by `{_COMMAND}`."""

# No postponed annotations here: evaluating them as text at every start would cost 3 ms.

from typing import Annotated, Any, Literal

import typer


def _flag(kind: Any, *spellings: str, help: str, panel: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return Annotated[kind, typer.Option(*spellings, metavar=metavar, help=help, rich_help_panel=panel)]


#: Another long form -> the flag that it stands for.
SYNONYMS = SYNONYM_LINES

#: Field -> the annotation of its parameter, whose default is None.
SETTING_FLAGS: dict[str, Any] = {{
'''

_TOML_HEAD = """\
# Every setting that a configuration file may hold, at its default.
# `agentctl config init` writes it to your config folder with each line commented out: uncomment what you change.
# `agentctl config set NAME VALUE` changes one line.
# Flags, the environment and a .env take precedence over this file. Keys do not belong here: set them in the
# environment or in the .env next to this file.
"""

_TOML_PRICES = """\
# [prices]  # a table: keep it below all other lines
# "openai/my-model" = { input = 0.15, output = 0.60, cached_input = 0.075, cache_write = 0.3, reasoning = 0.6, \
context_window = 128000, output_ceiling = 16384 }
# A line may also hold above_200k = { input = 0.30 } (the prices of a request with more input tokens, for all of its
# tokens) and certain = true (accept a price that is far from the table's: one that is 300 times as high or as low is
# otherwise refused as a wrong unit).
"""

_TOML_PROVIDERS = """\
# [providers]  # a table: keep it below all other lines
# "lab" = { kind = "openai", base_url = "http://127.0.0.1:8080/v1", price = 0, model = "qwen2.5-7b" }
# Then: --provider lab, or --model lab/NAME. kind is the format that the server speaks: openai (llama.cpp, vLLM, LM
# Studio, gateways), anthropic or ollama. price is 0 or { input = 0.15, output = 0.60 }. A line may also hold:
# - api_key_env = "LAB_API_KEY" (the variable of its key; agentctl providers set-key lab saves it)
# - timeout = "2h" and llm_timeout = "5m" (in place of those of every run)
# - context_window = 8192 (unset: the server is asked) and output_ceiling = 4096
"""

_TOML_MCP = """\
# [mcp.servers.git]  # a table for each: keep them below all other lines
# command = "mcp-server-git"
# agentctl = { network = false, required = false }
# The keys are those of mcp.json in the config folder, which other programs read, too: agentctl help mcp
"""

_TOML_HOOKS = """\
# [[hook]]  # a table for each: keep them below all other lines
# on = "pre_tool"  # before a call that may run; exit 0: it runs, 2: it is denied for the reason on stderr
# match = "run_shell(git push*)"
# command = ["/usr/local/bin/check"]  # absolute; reads one line of JSON from stdin
# timeout = "10s"
# [[hook]]
# on = "run_finished"  # at the end of a run, with the line run_finished of `agentctl run -o jsonl`
# command = ["/usr/local/bin/notify"]
"""

_ENV_HEAD = """\
# To use this file, name it with --env-file .env, or run agentctl trust, or copy it into the config folder (agentctl \
config path) and chmod 600 it. Until then a .env in the working directory is not trusted and can only tighten settings.
# Every name also works with the prefix AGENTCTL_; the prefixed one takes precedence. Uncomment the lines that you need.
"""


def settings_files() -> Mapping[Path, str]:
    """Return each file that follows from the settings, with the text that it must have."""
    toml = config_text()
    return {
        ROOT / "agentctl/cli/run/setting_flags.py": flags_text(),
        ROOT / "agentctl/settings/default.toml": toml,
        ROOT / "configs/default.toml": toml,
        ROOT / "configs/ci.toml": (ROOT / "agentctl/settings/ci.toml").read_text(encoding="utf-8"),
        ROOT / ".env.example": env_text(),
    }


def flags_text() -> str:
    """Return the module of the flags of ``agentctl run``."""
    flags = {field: declared.flag for field, declared in DECLARED.items() if declared.flag is not None}
    synonyms = {flag.synonym.lstrip("-"): _spelling(field)[2:] for field, flag in flags.items() if flag.synonym}
    head = _FLAGS_HEAD.replace("SYNONYM_LINES", json.dumps(synonyms))
    return head + "".join(_flag(field, flag) for field, flag in flags.items()) + "}\n"


def _flag(field: str, flag: Flag) -> str:
    """Return a flag's lines, in the form that the formatter gives them."""
    spellings = list(flag.spellings or (_spelling(field),))
    if flag.kind == "yes_no":
        spellings = [f"{spellings[0]}/--no-{spellings[0].removeprefix('--')}"]
    kinds = {"switch": "bool | None", "yes_no": "bool | None", "list": "list[str] | None", "text": "str | None"}
    parts = [kinds.get(flag.kind) or f"Literal[{', '.join(json.dumps(word) for word in _choices(field))}] | None"]
    parts += [json.dumps(spelling) for spelling in spellings]
    parts += [f"metavar={json.dumps(flag.metavar)}"] if flag.metavar else []
    parts += [f"panel={json.dumps(flag.panel)}", f"help={json.dumps(_help(field, flag), ensure_ascii=False)}"]
    whole, inner = f'    "{field}": _flag({", ".join(parts)}),', f"        {', '.join(parts)}"
    if len(whole) <= _WIDTH:
        return f"{whole}\n"
    inner = inner if len(inner) <= _WIDTH else "\n".join(f"        {part}," for part in parts)
    return f'    "{field}": _flag(\n{inner}\n    ),\n'


def _choices(field: str) -> tuple[str, ...]:
    return get_args(Settings.model_fields[field].annotation)


def _spelling(field: str) -> str:
    return "--" + field.replace("_", "-")


def _help(field: str, flag: Flag) -> str:
    declared = DECLARED[field]
    text = declared.help.removeprefix("true: ").removesuffix("; unset: no limit")
    text, can_be_none, _ = text.partition("; 'none' disables it")
    text = text.removesuffix(", in USD")  # as the placeholder says
    text, _, unset = text.partition("; unset: ")
    text = text.partition(": ")[0] if flag.kind == "choice" and not flag.metavar else text  # the usage names them
    text = text[0].upper() + text[1:]
    default = written_default(field)
    said = [f"alias {flag.synonym}"] if flag.synonym else []
    said += [f"default {default}"] if default and flag.kind in ("text", "choice") else []
    said += [f"default: {unset}"] if unset else []
    said += ["default no"] if flag.kind == "yes_no" and default == "false" else []
    said += ["may be repeated"] if flag.kind == "list" else []
    more = ", ".join(said) + ("; 'none' disables" if can_be_none else "")
    if more and text.endswith(")"):
        return f"{text[:-1]}; {more})."
    return f"{text} ({more})." if more else f"{text}."


def written_default(field: str) -> str:
    """Return a setting's default as a variable holds it, "" where it is unset."""
    declared = DECLARED[field]
    if declared.written:
        return declared.written
    default = Settings.model_fields[field].default
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None or default == () or field.endswith("_dir") else str(default)


def config_text() -> str:
    """Return config.toml with every setting at its default, those commented out that are unset."""
    parts = [_TOML_HEAD]
    for section, title in SECTIONS.items():
        fields = [field for field, one in DECLARED.items() if one.section == section and one.in_toml]
        if section == "prices":
            parts.append(f"# --- {title} ---\n{_TOML_PRICES}")
        elif section == "mcp":
            parts.append(f"# --- {title} ---\n{_TOML_MCP}")
        elif section == "hooks":
            parts.append(f"# --- {title} ---\n{_TOML_HOOKS}")
        elif section == "providers":
            parts.append(f"# --- {title} ---\n{_TOML_PROVIDERS}")
        elif fields:
            parts.append(f"# --- {title} ---\n" + "".join(map(_toml_line, fields)))
    return "\n".join(parts)


def _toml_line(field: str) -> str:
    declared = DECLARED[field]
    default, written = Settings.model_fields[field].default, written_default(field)
    is_unset = default is None
    value = _toml_value(field, declared.example if is_unset else written, is_list=default == () or field == "tools")
    line = f"{'# ' if is_unset else ''}{field} = {value}"
    return f"{line.ljust(26)}  # {declared.help}\n"


def _toml_value(field: str, text: str, *, is_list: bool) -> str:
    if is_list:
        return json.dumps(list(filter(None, text.split(","))))
    is_plain = text in ("true", "false") or text.replace(".", "", 1).isdigit()
    return text if is_plain else json.dumps(text)


def env_text() -> str:
    """Return .env.example: every variable, each line commented out."""
    parts = [_ENV_HEAD]
    for section, title in SECTIONS.items():
        lines = [line for field, one in DECLARED.items() if one.section == section for line in _env_lines(field, one)]
        if lines:
            parts.append(f"# {title[0].upper()}{title[1:]}\n" + "".join(lines))
    return "\n".join(parts)


def _env_lines(field: str, declared: Declaration) -> Iterator[str]:
    for name in declared.documented:
        yield f"#{name}={written_default(field) or (declared.example if field == 'llm_provider' else '')}\n"


def main(argv: list[str]) -> int:
    """Write the files, or name those that differ."""
    stale = [path for path, text in settings_files().items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if "--check" not in argv:
            path.write_text(settings_files()[path], encoding="utf-8")
        print(f"{'differs' if '--check' in argv else 'wrote'}: {path.relative_to(ROOT)}")
    if stale and "--check" in argv:
        print(f"write them again: {_COMMAND}")
    return 1 if stale and "--check" in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
