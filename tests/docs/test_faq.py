"""docs/faq.md quotes messages that the code has."""

import ast
import re

import pytest
from places import ROOT

PAGE = (ROOT / "docs" / "faq.md").read_text()
QUOTES = re.findall(r"^\| `([^`]+)`.* \|$", PAGE, re.M)


def words(node):
    """The text of a string or f-string, with a gap where a value stands; None of other nodes."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(words(value) or "\0" for value in node.values)
    return None


def messages():
    """The strings of the package, but for docstrings."""
    found = []
    for path in sorted((ROOT / "routing").rglob("*.py")):
        tree = ast.parse(path.read_text())
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [words(node) for node in ast.walk(tree) if id(node) not in bare]
    return [" ".join(text.split()) for text in found if text]


MESSAGES = messages()


def is_quoted(quote, text):
    """Whether the parts of the quote stand in the text, in their order."""
    start = 0
    for part in filter(None, re.split(r"'?\.\.\.'?", quote)):
        at = text.find(part.strip(), start)
        if at < 0:
            return False
        start = at + len(part.strip())
    return True


@pytest.mark.parametrize("quote", QUOTES)
def test_a_quoted_message_is_in_the_code(quote):
    assert any(is_quoted(quote, text) for text in MESSAGES), "docs/faq.md quotes an old message"


def test_quotes_are_found_and_others_are_not():
    assert len(QUOTES) > 25
    assert is_quoted("a: ... of '...'", "a: \0 of \0; do b") and not is_quoted("b ... a", "a b")
    assert not any(is_quoted("no such ... message", text) for text in MESSAGES)
