"""Tables as text, for a README (Markdown) and for a paper (LaTeX, booktabs).

Both take heads, lines of cells, and how many columns from the left are words; the others are
numbers, to the right. A cell of a best value has gone through `BOLD`, one without value is DASH.
"""

import re

BOLD = {"md": "**{}**", "tex": r"\textbf{{{}}}"}
DASH = {"md": "–", "tex": "--"}


def markdown_table(heads: list[str], lines: list[list[str]], num_words: int) -> str:
    """A pipe table."""
    rule = ["---"] * num_words + ["--:"] * (len(heads) - num_words)
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines]) + "\n"


def latex_table(heads: list[str], lines: list[list[str]], num_words: int, num_apart: int) -> str:
    """A booktabs tabular (\\usepackage{booktabs}); the last `num_apart` lines are below a rule."""
    body = [" & ".join(map(escape_latex, line)) + r" \\" for line in lines]
    cut = len(body) - num_apart
    rows = [*body[:cut], *([r"\midrule"] if num_apart else []), *body[cut:]]
    head = " & ".join(map(escape_latex, heads)) + r" \\"
    columns = "l" * num_words + "r" * (len(heads) - num_words)
    start = rf"\begin{{tabular}}{{{columns}}}"
    end = [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join([start, r"\toprule", head, r"\midrule", *rows, *end])


def escape_latex(text: str) -> str:
    """Text for LaTeX: a bold interval is bold in text, its sign in mathematics."""
    symbols = {"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "<": "$<$"}
    symbols |= {"%": r"\%", "_": r"\_"}
    for symbol, command in symbols.items():
        text = text.replace(symbol, command)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", text).replace("–", "--")
