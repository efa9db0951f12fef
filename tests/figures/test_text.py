"""Text from data and config in figures and tables: all characters, no mathematics, no markup."""

import re

import pytest
from figures_world import FakeJob, job_for, make, make_job, texts_of

from routing.figures.registry import FIGURES
from routing.figures.shared import figure_text, metric_labels, text_tables
from routing.figures.shared.figure_inputs import FigureInputs

SPECIAL = r"$&#%|\^~_{}<"
ODD = r"$a_{b$ & #%|\c^~{}<d>*`["
IMAGES = [name for name in FIGURES if "png" in FIGURES[name].formats]
TABLES = [name for name in FIGURES if "md" in FIGURES[name].formats]


@pytest.mark.parametrize("name", IMAGES)
def test_names_of_any_characters_are_drawn_as_they_are(name, monkeypatch):
    """Every name of the config and every metric label gets characters of mathematics."""
    label = metric_labels.metric_label
    shown = figure_text.display_name
    monkeypatch.setattr(figure_text, "display_name", lambda name: shown(name) + SPECIAL)
    monkeypatch.setattr(metric_labels, "metric_label", lambda metric: label(metric) + ODD)
    drawing = make(name).draw(FigureInputs(job_for(name)))
    assert drawing.rendered("png") and drawing.rendered("pdf")
    for text, _, _ in texts_of(drawing.figure):
        plain = figure_text.plain_text(text)
        assert text.replace(r"\$", "").count("$") % 2 == 0, text
        if SPECIAL[1:5] in plain:
            assert SPECIAL in plain, text


def job_with_labels(labels):
    """The digits, with `labels` instead of the ten digits, and the metrics of their shares."""
    base = make_job()
    files = dict(base.files)
    index = files["index"][0]
    files["index"] = [index.assign(label=[labels[int(i)] for i in index["label"]])]
    names = {f"class_share_{i}": f"class_share_{label}" for i, label in enumerate(labels)}
    for table in ("metrics", "differences", "comparisons", "replicates"):
        files[table] = [files[table][0].replace({"metric": names})]
    return FakeJob(base.spec, files)


@pytest.mark.parametrize("name, options", [
    ("clusters", {}), ("contact_sheet", {}), ("agreement", {}), ("shares", {"of": "class"}),
    ("quality", {"metric": f"class_share_{ODD}0"}), ("gains", {"metric": f"class_share_{ODD}0"}),
])  # fmt: skip
@pytest.mark.parametrize("letter", [ODD, "", "x$"])
def test_class_names_of_any_characters_are_drawn_as_they_are(name, options, letter):
    labels = [f"{letter}{i}" for i in range(10)]
    options = {key: value.replace(ODD, letter) for key, value in options.items()}
    drawing = make(name, **options).draw(FigureInputs(job_with_labels(labels)))
    assert drawing.rendered("png") and drawing.rendered("pdf")
    texts = [figure_text.plain_text(text) for text, _, _ in texts_of(drawing.figure)]
    wanted = {"shares": labels, "quality": labels[:1], "gains": labels[:1]}.get(name, [])
    for label in wanted:
        assert any(label in text.replace("\n", " ") for text in texts), label
    if name == "clusters":  # long labels are above the bars, and cut
        assert any(letter[:8] in text and "%" in text for text in texts) or len(letter) < 3


def unescaped_latex(text):
    """Return the characters of `text` that LaTeX would not print, outside our own commands."""
    commands = r"\\(?:textbackslash|textasciitilde|textasciicircum|textbar)\{\}|\\textbf(?=\{)"
    commands += r"|\\[&%$#_{}]|\$(?:\\pm|\\uparrow|\\downarrow|<|>|-)\$|\{\[\}|\{\*\}"
    return re.findall(r"[\\&%$#_^~<>|\[*]", re.sub(commands, "", text))


def unescaped_markdown(text):
    """Return the characters that have a meaning in Markdown and no backslash before them."""
    return re.findall(r"[\\`*_{}\[\]<>#|~$^&]", re.sub(r"\\[^A-Za-z0-9\s]", "", text))


@pytest.mark.parametrize("name", TABLES)
def test_tables_escape_names_of_any_characters(name, monkeypatch):
    import importlib

    module = importlib.import_module(FIGURES[name].__module__)
    monkeypatch.setattr(module, "display_name", lambda name: f"[{name}{ODD}\n")
    texts = make(name).draw(FigureInputs(job_for(name))).texts
    md, tex = texts["md"], texts["tex"]
    lines = [line for line in md.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\) \| ", line[2:-2]) for line in lines]
    assert len({len(row) for row in cells}) == 1
    for cell in sum([cells[0], *cells[2:]], []):
        assert unescaped_markdown(re.fullmatch(r"(?:\*\*)?(.*?)(?:\*\*)?", cell)[1]) == [], cell
    for line in md.splitlines():
        assert line.startswith("|") or unescaped_markdown(line) == []
    rows = [line for line in tex.splitlines() if line.endswith(r" \\")]
    assert sum(ODD[2:3] in row for row in rows)
    for row in rows:
        parts = row.removesuffix(r" \\").split(" & ")
        assert len(parts) == len(cells[0]), row
        assert [unescaped_latex(part) for part in parts] == [[]] * len(parts)
    assert tex.count("{") - tex.count(r"\{") == tex.count("}") - tex.count(r"\}")


def test_every_character_of_ascii_is_escaped():
    printable = "".join(map(chr, range(32, 127))) + "±↑↓–"
    assert unescaped_latex(text_tables.escape_latex(printable)) == []
    assert unescaped_markdown(text_tables.escape_markdown(printable)) == []
    assert text_tables.escape_latex("a\nb\\&") == r"a b\textbackslash{}\&"
    assert text_tables.escape_markdown("a\nb|*c*") == r"a b\|\*c\*"
    assert text_tables.escape_markdown("a_b <c> $d$") == r"a\_b \<c\> \$d\$"
    assert text_tables.latex_table(["[a"], [["*b"]], 1, 0).count("{[}a") == 1
    bold = [[text_tables.Bold("1 < 2"), "3"]]
    assert r"**1 \< 2** | 3" in text_tables.markdown_table(["a", "b"], bold, 0)
    assert r"\textbf{1 $<$ 2} & 3" in text_tables.latex_table(["a", "b"], bold, 0, 0)


def test_characters_without_a_font_are_code_points_and_one_line(capsys):
    figure_text._report_missing.cache_clear()
    text = figure_text.figure_text("cat 猫🙂 Ω é\t$")
    assert text == r"cat [U+732B][U+1F642] Ω é \$"
    assert figure_text.figure_text("猫🙂") == "[U+732B][U+1F642]"
    (line,) = capsys.readouterr().err.splitlines()
    assert "猫 (U+732B), 🙂 (U+1F642)" in line and "install one of the fonts" in line


@pytest.mark.parametrize("name", ["clusters", "contact_sheet", "shares"])
def test_no_box_is_drawn_for_a_character_that_fonts_lack(name, recwarn):
    labels = [f"猫{i}" for i in range(10)]
    options = {"of": "class"} if name == "shares" else {}
    drawing = make(name, **options).draw(FigureInputs(job_with_labels(labels)))
    assert drawing.rendered("png") and drawing.rendered("pdf")
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
    assert any("U+732B" in text for text, _, _ in texts_of(drawing.figure))
