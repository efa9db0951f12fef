"""Text tables in Markdown (for a README) and LaTeX (booktabs, for a paper).

Both functions take column headings, rows of cells, and the number of text columns on the left;
the other columns are numbers, aligned right. BOLD formats the cell of a best value, DASH is a cell
without value.
"""

import re

BOLD = {"md": "**{}**", "tex": r"\textbf{{{}}}"}
DASH = {"md": "–", "tex": "--"}


def markdown_table(heads: list[str], lines: list[list[str]], num_text_columns: int) -> str:
    """Return a Markdown table."""
    rule = ["---"] * num_text_columns + ["--:"] * (len(heads) - num_text_columns)
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines]) + "\n"


def latex_table(
    heads: list[str], lines: list[list[str]], num_text_columns: int, num_apart: int
) -> str:
    """Return a booktabs tabular; a rule separates the last `num_apart` lines."""
    body = [" & ".join(map(escape_latex, line)) + r" \\" for line in lines]
    cut = len(body) - num_apart
    rows = [*body[:cut], *([r"\midrule"] if num_apart else []), *body[cut:]]
    head = " & ".join(map(escape_latex, heads)) + r" \\"
    columns = "l" * num_text_columns + "r" * (len(heads) - num_text_columns)
    start = rf"\begin{{tabular}}{{{columns}}}"
    end = [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join([start, r"\toprule", head, r"\midrule", *rows, *end])


def escape_latex(text: str) -> str:
    """Escape `text` for LaTeX, with symbols and minus signs in mathematics."""
    symbols = {"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "<": "$<$"}
    symbols |= {"%": r"\%", "_": r"\_"}
    for symbol, command in symbols.items():
        text = text.replace(symbol, command)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", text).replace("–", "--")
