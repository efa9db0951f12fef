"""Text tables in Markdown (for a README) and LaTeX (booktabs, for a paper).

Both functions take column headings, rows of cells, and the number of text columns on the left;
the other columns are numbers, aligned right. Cells are plain text: the functions escape every
character that has a meaning in the format. A `Bold` cell is a best value, DASH is a cell without
value.
"""

import re
from collections.abc import Callable

DASH = "–"
MARKDOWN_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~$^&]")
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "[": "{[}",  # a line that starts with it would be an option of the line break before it
    "*": "{*}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
}
LATEX_SPECIAL = re.compile("|".join([*map(re.escape, LATEX), r"(?<![\w.])-(?=\d)"]))


class Bold(str):
    """The text of a cell that is printed in bold."""


def markdown_table(heads: list[str], lines: list[list[str]], num_text_columns: int) -> str:
    """Return a Markdown table."""
    rule = ["---"] * num_text_columns + ["--:"] * (len(heads) - num_text_columns)
    rows = [[_cell(text, escape_markdown, "**{}**") for text in line] for line in [heads, *lines]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]]) + "\n"


def latex_table(
    heads: list[str], lines: list[list[str]], num_text_columns: int, num_apart: int
) -> str:
    """Return a booktabs tabular; a rule separates the last `num_apart` lines."""
    head, *body = [
        " & ".join(_cell(text, escape_latex, r"\textbf{{{}}}") for text in line) + r" \\"
        for line in [heads, *lines]
    ]
    cut = len(body) - num_apart
    rows = [*body[:cut], *([r"\midrule"] if num_apart else []), *body[cut:]]
    columns = "l" * num_text_columns + "r" * (len(heads) - num_text_columns)
    start = rf"\begin{{tabular}}{{{columns}}}"
    end = [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join([start, r"\toprule", head, r"\midrule", *rows, *end])


def escape_markdown(text: str) -> str:
    """Escape `text` for Markdown, in one line (CommonMark: a backslash before punctuation)."""
    return MARKDOWN_SPECIAL.sub(r"\\\g<0>", _one_line(text))


def escape_latex(text: str) -> str:
    """Escape `text` for LaTeX, in one line, with symbols and minus signs in mathematics."""
    return LATEX_SPECIAL.sub(lambda found: LATEX.get(found[0], "$-$"), _one_line(text))


def _cell(text: str, escape: Callable[[str], str], bold: str) -> str:
    return bold.format(escape(text)) if isinstance(text, Bold) else escape(text)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
