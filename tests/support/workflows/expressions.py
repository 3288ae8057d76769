"""What stands in ``${{ }}``: the expressions of GitHub's workflows, as far as ours use them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Contexts = Mapping[str, Any]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?)|'(?P<text>(?:[^']|'')*)'|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||[<>!().,\[\]]))"
)
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_STATUS = frozenset({"success", "failure", "always", "cancelled"})
_WORDS = {"true": True, "false": False, "null": None}


class UnknownExpression(AssertionError):
    """An expression that this interpreter does not know."""


def evaluate(expression: str, contexts: Contexts) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of an expression without its ``${{ }}``; ``contexts`` has ``job.status`` for the functions.

    Raises:
        UnknownExpression: it has a word or a function that is not known here.
    """
    parser = _Parser(expression, contexts)
    value = parser.either()
    parser.end()
    return value


def fill(text: str, contexts: Contexts) -> str:
    """Return a value of ``env`` or ``with`` with each ``${{ }}`` replaced by its value as text."""
    return _EXPRESSION.sub(lambda found: as_text(evaluate(found[1], contexts)), text)


def is_met(condition: str | bool | None, contexts: Contexts) -> bool:
    """Return whether an ``if`` is met: without a function of the status it is met only if nothing has failed."""
    if condition is None:
        return evaluate("success()", contexts) is True
    text = as_text(condition).strip()
    if text.startswith("${{") and text.endswith("}}"):
        text = text[3:-2]
    if not any(re.search(rf"\b{name}\s*\(", text) for name in _STATUS) and not evaluate("success()", contexts):
        return False
    return _truth(evaluate(text, contexts))


def expressions_in(text: str) -> list[str]:
    """Return what stands in the ``${{ }}`` of a text."""
    return [found[1].strip() for found in _EXPRESSION.finditer(text)]


def as_text(value: object) -> str:
    """Return a value as GitHub writes it into a text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case str() | int() | float():
            return str(value)
        case _:
            return "Object" if isinstance(value, Mapping) else "Array"


def _truth(value: object) -> bool:
    return value not in (None, False, "", 0)


def _number(value: object) -> float:
    if isinstance(value, bool | int | float):
        return float(value)
    if value in (None, ""):
        return 0.0
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def _equal(one: object, other: object) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    if type(one) is type(other):
        return one == other
    return _number(one) == _number(other)


def _contains(where: object, what: object) -> bool:
    if isinstance(where, list):
        return any(_equal(item, what) for item in where)
    return as_text(what).casefold() in as_text(where).casefold()


def _format(template: object, *values: object) -> str:
    return re.sub(r"\{(\d+)\}", lambda found: as_text(values[int(found[1])]), as_text(template))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "tojson": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    "fromjson": lambda text: json.loads(text),
    "contains": _contains,
    "startswith": lambda text, start: as_text(text).casefold().startswith(as_text(start).casefold()),
    "endswith": lambda text, end: as_text(text).casefold().endswith(as_text(end).casefold()),
    "format": _format,
}


class _Parser:
    """A recursive descent over the tokens; each method returns the value of what it has read."""

    def __init__(self, expression: str, contexts: Contexts) -> None:
        self._text, self._contexts = expression, contexts
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(expression.rstrip()):
            found = _TOKEN.match(expression, at)
            if found is None or found.lastgroup is None:
                raise UnknownExpression(f"{expression!r}, at {expression[at:]!r}")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()

    def end(self) -> None:
        if self._tokens:
            raise UnknownExpression(f"{self._text!r} goes on with {self._tokens[0][1]!r}")

    def either(self) -> Any:  # noqa: ANN401
        value = self.both()
        while self._take("||"):
            other = self.both()
            value = value if _truth(value) else other
        return value

    def both(self) -> Any:  # noqa: ANN401
        value = self.compared()
        while self._take("&&"):
            other = self.compared()
            value = other if _truth(value) else value
        return value

    def compared(self) -> Any:  # noqa: ANN401
        value = self.denied()
        for sign in ("==", "!=", "<=", ">=", "<", ">"):
            if self._take(sign):
                other = self.denied()
                if sign in ("==", "!="):
                    return _equal(value, other) == (sign == "==")
                one, two = _number(value), _number(other)
                return {"<": one < two, ">": one > two, "<=": one <= two, ">=": one >= two}[sign]
        return value

    def denied(self) -> Any:  # noqa: ANN401
        return not _truth(self.denied()) if self._take("!") else self.path()

    def path(self) -> Any:  # noqa: ANN401
        value = self.one()
        while True:
            if self._take("."):
                value = _member(value, self._name())
            elif self._take("["):
                value = _member(value, self.either())
                self._expect("]")
            else:
                return value

    def one(self) -> Any:  # noqa: ANN401
        if self._take("("):
            value = self.either()
            self._expect(")")
            return value
        if not self._tokens:
            raise UnknownExpression(f"{self._text!r} ends too early")
        kind, text = self._tokens.pop(0)
        if kind == "number":
            return float(text)
        if kind == "text":
            return text.replace("''", "'")
        if kind != "name":
            raise UnknownExpression(f"{self._text!r}: {text!r}")
        if self._take("("):
            return self._call(text)
        if text in _WORDS:
            return _WORDS[text]
        if text not in self._contexts:
            raise UnknownExpression(f"{self._text!r}: there is no context {text!r} here")
        return self._contexts[text]

    def _call(self, name: str) -> Any:  # noqa: ANN401
        values = []
        while not self._take(")"):
            values.append(self.either())
            self._take(",")
        if name.lower() in _STATUS:
            status = self._contexts["job"]["status"]
            return name.lower() == "always" or name.lower() == status
        if name.lower() not in _FUNCTIONS:
            raise UnknownExpression(f"{self._text!r}: there is no function {name!r} here")
        return _FUNCTIONS[name.lower()](*values)

    def _name(self) -> str:
        kind, text = self._tokens.pop(0)
        if kind != "name":
            raise UnknownExpression(f"{self._text!r}: {text!r} is no name")
        return text

    def _take(self, sign: str) -> bool:
        if self._tokens[:1] == [("sign", sign)]:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise UnknownExpression(f"{self._text!r} lacks {sign!r}")


def _member(value: object, name: object) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return next((found for key, found in value.items() if _equal(key, as_text(name))), None)
    if isinstance(value, list) and isinstance(name, int | float):
        return value[int(name)] if int(name) < len(value) else None
    return None
