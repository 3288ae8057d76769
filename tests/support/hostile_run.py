"""A run whose texts are hostile to a page that shows them: markup, ends of a style, fences, bidi marks, escapes."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from agentctl.core.messages import Completion, ToolCall, Usage

#: The address that markup asks for, for a test that has a server there.
ADDRESS = "http://127.0.0.1:9"
_USED = Usage(input_tokens=1000, output_tokens=100)


def corpus(address: str = ADDRESS) -> tuple[str, ...]:
    """Return the hostile texts, each with words of its own that must be found in the page."""
    return (
        f"<script>fetch('{address}/a'); document.title = 'stolen'</script> words-a",
        f"</pre></details><img src={address}/b onerror=\"document.title='stolen'\"> words-b",
        f"</style></title></head><style>@import url({address}/c); body {{ display: none }}</style> words-c",
        f'"><svg onload="document.title=\'stolen\'"><a href="javascript:document.title=1">x</a> {address} words-d',
        f"<iframe src={address}/e></iframe><object data={address}/e></object><link rel=icon href={address}/e> words-e",
        f"<meta http-equiv=refresh content='0; url={address}/f'><base href={address}/> words-f",
        "{{ 7 * 7 }} {% for x in y %} {{ document.__class__ }} ${7*7} words-g",
        "```\n# a heading\n``````\n</details>\n~~~\n`````````` words-h",
        "\u202egnp.exe\u202c \u2066isolated\u2069 \u200b\u2028 words-i",
        "\x1b[31mred\x1b[0m \x1b]8;;http://a\x07link\x1b]8;;\x07 \x9b2J \x00\x08\r words-j",
        "&lt;script&gt; &amp; &#x3c; &quot; ]]> <!-- --> <!DOCTYPE words-k",
        f"![x]({address}/l) [y](javascript:1) <b>| a | b |\n|---|---|</b> words-l",
        "\ud83d half of a pair, \U0001f600 and a whole one words-m",
        "\n\n  first lines are empty words-n",
    )


def hostile_script(address: str = ADDRESS) -> list[Any]:
    """Return what the model says: each text as its own words, as an argument, as a tool's name, and as the answer."""
    texts = corpus(address)
    turns = [
        Completion(
            text=f"said {words}",
            tool_calls=(
                ToolCall(f"a{number}", "read_file", {"path": words, words: [words]}),
                ToolCall(f"b{number}", words[:60], {}),
            ),
            usage=_USED,
            stop="tool_calls",
        )
        for number, words in enumerate(texts)
    ]
    return [*turns, Completion(text="answer " + "\n".join(texts), usage=_USED)]


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, and its text."""

    VOID = frozenset({"meta", "rect", "br", "img", "link", "input", "base"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.styles: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that is open, which must be this one."""
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Take text."""
        (self.styles if self.open[-1:] == ["style"] else self.pieces).append(data)

    @property
    def text(self) -> str:
        """The text that a reader sees."""
        return "".join(self.pieces)

    def attributes(self, element: str) -> list[dict[str, str | None]]:
        """Return the attributes of each such element."""
        return [attributes for tag, attributes in self.elements if tag == element]
