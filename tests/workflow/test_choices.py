"""Choices: a table, a dictionary, an object; and one clear line where they do not fit."""

from dataclasses import FrozenInstanceError, dataclass
from importlib import metadata
from typing import ClassVar, Literal, Protocol

import jsonschema
import pytest

from routing.workflow import choices


class Shape(Protocol):
    """What every row offers."""


@dataclass(frozen=True)
class Disc(Shape):
    """A disc.

    More words that a schema does not need.
    """

    radius: float = 1.0

    def __post_init__(self):
        if self.radius <= 0:
            raise ValueError(f"disc wants radius > 0, got {self.radius}; raise it")


@dataclass(frozen=True)
class Grid(Shape):
    """Points."""

    points: tuple[tuple[float, float], ...]
    count: int
    colour: Literal["red", "blue"] = "red"
    label: str = "a"
    closed: bool = False
    limit: int | None = None

    kind: ClassVar[str] = "no option"


@dataclass(frozen=True)
class Both(Shape):
    """Two shapes."""

    first: Shape
    second: Shape = Disc(2.0)


@dataclass(frozen=True)
class Nothing(Shape):
    """No options."""


TABLE = {"disc": Disc, "grid": Grid, "both": Both, "nothing": Nothing}
GRID = {"name": "grid", "points": [[0.0, 1.0], [2.0, 3.5]], "count": 2}


def test_build_makes_the_object():
    assert choices.build(TABLE, {"name": "disc", "radius": 2.5}, "x") == Disc(2.5)
    assert (
        choices.build(TABLE, {"name": "disc"}, "x") == choices.build(TABLE, "disc", "x") == Disc()
    )
    grid = choices.build(TABLE, GRID, "x")
    assert grid == Grid(((0.0, 1.0), (2.0, 3.5)), 2)
    nested = {"name": "both", "first": {"name": "both", "first": GRID}, "second": "nothing"}
    assert choices.build(TABLE, nested, "x") == Both(Both(grid), Nothing())
    with pytest.raises(FrozenInstanceError):
        grid.count = 3


def test_integers_serve_as_numbers():
    disc = choices.build(TABLE, {"name": "disc", "radius": 2}, "x")
    assert disc == Disc(2.0) and isinstance(disc.radius, float)
    assert choices.build(TABLE, GRID | {"points": [[1, 2]]}, "x").points == ((1.0, 2.0),)
    assert choices.build(TABLE, GRID | {"limit": 3}, "x").limit == 3


def test_resolve_writes_defaults_out():
    full = {"colour": "red", "label": "a", "closed": False, "limit": None}
    assert choices.resolve(TABLE, GRID, "x") == GRID | full
    assert choices.resolve(TABLE, {"name": "both", "first": "nothing"}, "x") == {
        "name": "both",
        "first": {"name": "nothing"},
        "second": {"name": "disc", "radius": 2.0},
    }


@pytest.mark.parametrize("value", ["nothing", GRID, {"name": "both", "first": GRID}], ids=str)
def test_resolved_is_a_fixed_point_of_plain_values(value):
    once = choices.resolve(TABLE, value, "x")
    assert choices.resolve(TABLE, once, "x") == once
    built = choices.build(TABLE, once, "x")
    assert built == choices.build(TABLE, value, "x") and choices.describe(TABLE, built) == once

    def plain(v):
        if isinstance(v, dict):
            return all(isinstance(k, str) and plain(item) for k, item in v.items())
        return (
            all(map(plain, v))
            if type(v) is list
            else type(v) in (str, int, float, bool, type(None))
        )

    assert plain(once)


BAD = {  # value -> what its line must hold, the key first
    "unknown name": ({"name": "disk"}, "x: unknown name 'disk'; did you mean 'disc'?"),
    "unknown bare name": ("grit", "x: unknown name 'grit'; did you mean 'grid'?"),
    "names": ({"name": "zzz"}, "x: unknown name 'zzz'; valid names: disc, grid, both, nothing"),
    "no name": ({"radius": 1.0}, "x: wanted {name: ..., options}, got {'radius': 1.0}"),
    "number": (3, "x: wanted {name: ..., options}, got 3"),
    "none": (None, "x: wanted {name: ..., options}, got None"),
    "list": ([GRID], "x: wanted {name: ..., options}"),
    "name is a list": ({"name": ["disc"]}, "x: unknown name ['disc']"),
    "name is none": ({"name": None}, "x: unknown name None"),
    "name is a dict": ({"name": {"a": 1}}, "x: unknown name {'a': 1}"),
    "option": ({"name": "disc", "radios": 1.0}, "x: unknown option 'radios' of 'disc'; did you m"),
    "number as option": ({"name": "disc", 1: 1.0}, "x: unknown option 1 of 'disc'; valid names"),
    "no options": ({"name": "nothing", "a": 1}, "x: unknown option 'a' of 'nothing'; it has no o"),
    "class variable": (GRID | {"kind": "a"}, "x: unknown option 'kind' of 'grid'"),
    "missing": ({"name": "grid", "count": 1}, "x: 'grid' needs the option 'points'; add it"),
    "text": ({"name": "disc", "radius": "big"}, "x.radius: wanted a valid number, got 'big'"),
    "exponent": (
        {"name": "disc", "radius": "1e-3"},
        "x.radius: wanted a valid number, got '1e-3' (YAML reads 1e-3 as text; write 1.0e-3)",
    ),
    "quoted": ({"name": "disc", "radius": "2.5"}, "got '2.5' (text; take the quotes away)"),
    "true for a number": (
        {"name": "disc", "radius": True},
        "x.radius: wanted a valid number, got T",
    ),
    "none for a number": (
        {"name": "disc", "radius": None},
        "x.radius: wanted a valid number, got N",
    ),
    "nan": ({"name": "disc", "radius": float("nan")}, "x.radius: wanted a finite number, got nan"),
    "inf": ({"name": "disc", "radius": float("inf")}, "x.radius: wanted a finite number, got inf"),
    "true for a count": (GRID | {"count": True}, "x.count: wanted a valid integer, got True"),
    "fraction": (GRID | {"count": 2.5}, "x.count: wanted a valid integer, got 2.5"),
    "float for a count": (GRID | {"count": 2.0}, "x.count: wanted a valid integer, got 2.0"),
    "list for a count": (GRID | {"count": [2]}, "x.count: wanted a valid integer, got [2]"),
    "number for text": (GRID | {"label": 3}, "x.label: wanted a valid string, got 3"),
    "number for bool": (GRID | {"closed": 1}, "x.closed: wanted a valid boolean, got 1"),
    "text for bool": (GRID | {"closed": "no"}, "x.closed: wanted a valid boolean, got 'no'"),
    "one of": (GRID | {"colour": "rad"}, "x.colour: wanted 'red' or 'blue', got 'rad'"),
    "text in a list": (
        GRID | {"points": [[0.0, "1"]]},
        "x.points.0.1: wanted a valid number, got",
    ),
    "bool in a list": (
        GRID | {"points": [[0.0, True]]},
        "x.points.0.1: wanted a valid number, go",
    ),
    "nan in a list": (GRID | {"points": [[0.0, float("nan")]]}, "x.points.0.1: wanted a finite n"),
    "too short": (GRID | {"points": [[0.0]]}, "x.points.0.1: wanted one more item, got [0.0]"),
    "too long": (GRID | {"points": [[1.0, 2.0, 3.0]]}, "x.points.0: "),
    "no list": (GRID | {"points": 3.0}, "x.points: wanted a valid tuple, got 3.0"),
    "dict for a list": (
        GRID | {"points": {"a": 1}},
        "x.points: wanted a valid tuple, got {'a': 1}",
    ),
    "refused by the row": ({"name": "disc", "radius": -1.0}, "x: disc wants radius > 0, got -1.0"),
    "nested name": (
        {"name": "both", "first": "disk"},
        "x.first: unknown name 'disk'; did you mean",
    ),
    "nested option": (
        {"name": "both", "first": {"name": "both", "first": {"name": "disc", "radus": 1.0}}},
        "x.first.first: unknown option 'radus' of 'disc'; did you mean 'radius'?",
    ),
    "nested type": (
        {"name": "both", "first": GRID, "second": GRID | {"count": "3"}},
        "x.second.count: wanted a valid integer, got '3' (text; take the quotes away)",
    ),
    "nested refusal": (
        {"name": "both", "first": {"name": "disc", "radius": 0}},
        "x.first: disc w",
    ),
    "nested none": ({"name": "both", "first": None}, "x.first: wanted {name: ..., options}"),
    "long": ([list(range(1000))], "x: wanted {name: ..., options}, got [[0, 1, 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_one_line(case):
    value, expected = BAD[case]
    with pytest.raises(ValueError) as caught:
        choices.build(TABLE, value, "x")
    line = str(caught.value)
    assert expected in line and line.startswith("x") and "\n" not in line and len(line) < 250


def test_a_mistake_of_ours_is_no_line_for_users():
    @dataclass(frozen=True)
    class Broken:
        """A row with a bug."""

        def __post_init__(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        choices.build({"broken": Broken}, "broken", "x")


def test_nearest():
    assert (
        choices.suggest_names("tpo1", ["top1", "full"])
        == "; did you mean 'top1'? valid names: top1, full"
    )
    assert choices.suggest_names("xyz", ["top1"]) == "; valid names: top1"
    assert choices.suggest_names("xyz", []) == "; none is defined"


@pytest.mark.parametrize(
    "value", ["nothing", "disc", GRID, {"name": "both", "first": GRID}], ids=str
)
def test_the_schema_takes_what_build_takes(value):
    jsonschema.validate(value, whole_schema())


TOLD_BY_THE_ROW = ("nan", "inf", "nan in a list", "refused by the row", "nested refusal")
NUMBERS = ("float for a count",)  # JSON has one kind of numbers: 2.0 is an integer


@pytest.mark.parametrize(
    "case", sorted(BAD.keys() - {*TOLD_BY_THE_ROW, *NUMBERS, "number as option"})
)
def test_the_schema_refuses_what_build_refuses(case):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(BAD[case][0], whole_schema())


def whole_schema():
    made = choices.schema(TABLE, "#/$defs/shapes")
    assert made["oneOf"][0]["description"] == "A disc."
    return {"$ref": "#/$defs/shapes", "$defs": {"shapes": made}}


@dataclass(frozen=True)
class Mine:
    """A third party's row."""


class Entry:
    name, value = "mine", "package:Mine"

    def load(self):
        return Mine


def test_other_packages_add_rows(monkeypatch):
    requested = []

    def installed(group):
        requested.append(group)
        return [Entry()]

    monkeypatch.setattr(metadata, "entry_points", installed)
    table = choices.with_plugins("shapes", TABLE)
    assert (
        requested == ["routing.shapes"] and table == TABLE | {"mine": Mine} and "mine" not in TABLE
    )
    assert choices.build(table, "mine", "x") == Mine()


@dataclass
class Thawed:
    """A row that is not frozen."""


class Plain:
    """A row that is no dataclass."""


def broken(error):
    def load():
        raise error

    return load


BROKEN = {  # what loading the entry point gives -> what its line must hold
    "no module": (broken(ModuleNotFoundError("No module named 'pakage'")), "No module named 'pa"),
    "no class": (broken(AttributeError("module 'package' has no 'Mine'")), "has no 'Mine'); corr"),
    "an error of its code": (broken(ZeroDivisionError("first\nsecond")), "ZeroDivisionError: fir"),
    "not frozen": (lambda: Thawed, "wanted a frozen dataclass, got the class Thawed; write @data"),
    "no dataclass": (lambda: Plain, "wanted a frozen dataclass, got the class Plain; write @data"),
    "a function": (lambda: broken, "wanted a frozen dataclass, got <function broken"),
    "an object": (lambda: Mine(), "wanted a frozen dataclass, got Mine(); write @dataclass(froz"),
}


def entries(monkeypatch, **loads):
    """Install entry points of the group routing.shapes."""
    made = []
    for name, load in loads.items():
        entry = Entry()
        entry.name, entry.load = name, load
        made.append(entry)
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: made if group == "routing.shapes" else []
    )
    return made


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_row_of_another_package_breaks_only_the_configs_that_name_it(monkeypatch, case):
    load, expected = BROKEN[case]
    entries(monkeypatch, bad=load, good=lambda: Mine)
    table = choices.with_plugins("shapes", TABLE)
    assert list(table) == [*TABLE, "bad", "good"] and "bad" in table and len(table) == 6
    assert choices.resolve(table, "good", "x") == {"name": "good"}
    nested = {"name": "both", "first": "good", "second": GRID}
    assert choices.resolve(table, choices.resolve(table, nested, "x"), "x")["first"] == {
        "name": "good"
    }
    assert dict(choices.usable_rows(table)) == TABLE | {"good": Mine}
    for where, value in (("x", "bad"), ("x.first", {"name": "both", "first": "bad"})):
        with pytest.raises(ValueError) as caught:
            choices.build(table, value, "x")
        line = str(caught.value)
        assert line.startswith(f"{where}: entry point routing.shapes:bad (package:Mine)")
        assert expected in line and "\n" not in line and len(line) < 300


def test_rows_of_other_packages_are_not_imported_before_they_are_named(monkeypatch):
    loaded = []
    entries(monkeypatch, mine=lambda: loaded.append("mine") or Mine)
    table = choices.with_plugins("shapes", TABLE)
    choices.resolve(table, {"name": "both", "first": GRID}, "x")
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        choices.build(table, "mime", "x")
    assert not loaded
    choices.build(table, "mine", "x")
    assert loaded


def test_a_name_that_is_defined_twice_is_refused_where_it_is_used(monkeypatch):
    entries(monkeypatch, disc=lambda: Mine)
    table = choices.with_plugins("shapes", TABLE)
    assert choices.resolve(table, GRID, "x")["name"] == "grid"
    with pytest.raises(ValueError, match=r"^x: entry point routing.shapes:disc .*; rename it"):
        choices.build(table, "disc", "x")
    first, second = entries(monkeypatch, one=lambda: Mine, two=lambda: Mine)
    second.name, second.value = "one", "other:Mine"
    assert choices.build(choices.with_plugins("shapes", TABLE), "disc", "x") == Disc()
    with pytest.raises(ValueError, match="routing.shapes:one .*another entry point, other:Mine;"):
        choices.build(choices.with_plugins("shapes", TABLE), "one", "x")


# A choice from another table.


class Ink(Protocol):
    """What every row of the other table offers."""


@dataclass(frozen=True)
class Solid(Ink):
    """One colour."""

    strength: float = 1.0


@dataclass(frozen=True)
class Blot(Ink):
    """A row with the name of a row of the first table."""

    shape: Shape = Disc(3.0)

    tables: ClassVar[dict] = {"shape": ("shapes", TABLE)}


INKS = {"solid": Solid, "disc": Blot}


@dataclass(frozen=True)
class Drawn(Shape):
    """A shape with ink from the other table, and another shape."""

    ink: Ink
    of: Shape = Nothing()

    tables: ClassVar[dict] = {"ink": ("inks", INKS)}


PICTURES = TABLE | {"drawn": Drawn}
SOLID = {"name": "solid", "strength": 1.0}
PICTURE = {"name": "drawn", "ink": SOLID, "of": {"name": "nothing"}}


def test_an_option_may_be_a_choice_from_another_table():
    assert choices.build(PICTURES, {"name": "drawn", "ink": "solid"}, "x") == Drawn(Solid())
    built = choices.build(PICTURES, {"name": "drawn", "ink": SOLID | {"strength": 2}}, "x")
    assert built == Drawn(Solid(2.0))
    assert choices.build(PICTURES, {"name": "drawn", "ink": "disc"}, "x") == Drawn(Blot())
    there_and_back = {"name": "drawn", "ink": {"name": "disc", "shape": "disc"}, "of": "disc"}
    assert choices.build(PICTURES, there_and_back, "x") == Drawn(Blot(Disc()), Disc())


@pytest.mark.parametrize(
    ("value", "full"),
    [
        ({"name": "drawn", "ink": "solid"}, PICTURE),
        (
            {"name": "drawn", "ink": "disc"},
            PICTURE | {"ink": {"name": "disc", "shape": {"name": "disc", "radius": 3.0}}},
        ),
        (
            {"name": "both", "first": {"name": "drawn", "ink": "solid"}},
            {"name": "both", "first": PICTURE, "second": {"name": "disc", "radius": 2.0}},
        ),
    ],
    ids=str,
)
def test_choices_from_another_table_are_written_out_and_read_again(value, full):
    assert choices.resolve(PICTURES, value, "x") == full
    assert choices.resolve(PICTURES, full, "x") == full
    built = choices.build(PICTURES, full, "x")
    assert choices.describe(PICTURES, built) == full
    for written in (value, full):
        jsonschema.validate(written, picture_schema())


WRONG_INK = {
    "unknown name": ("solit", "x.ink: unknown name 'solit'; did you mean 'solid'? valid names: s"),
    "a row of the first table": ("grid", "x.ink: unknown name 'grid'; valid names: solid, disc"),
    "unknown option": ({"name": "solid", "strenth": 1.0}, "x.ink: unknown option 'strenth' of 's"),
    "an option of its namesake": (
        {"name": "disc", "radius": 1.0},
        "x.ink: unknown option 'radius",
    ),
    "type": (SOLID | {"strength": "1"}, "x.ink.strength: wanted a valid number, got '1' (text;"),
    "none": (None, "x.ink: wanted {name: ..., options}, got None"),
    "deeper": (
        {"name": "disc", "shape": {"name": "disc", "radus": 1.0}},
        "x.ink.shape: unknown option 'radus' of 'disc'; did you mean 'radius'?",
    ),
    "a row of the other table": (
        {"name": "disc", "shape": "solid"},
        "x.ink.shape: unknown name 'solid'; valid names: disc, grid, both, nothing",
    ),
}


@pytest.mark.parametrize("case", WRONG_INK)
def test_what_does_not_fit_another_table_is_one_line(case):
    ink, expected = WRONG_INK[case]
    wrong = {"name": "drawn", "ink": ink}
    with pytest.raises(ValueError) as caught:
        choices.build(PICTURES, wrong, "x")
    line = str(caught.value)
    assert line.startswith(expected) and "\n" not in line
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, picture_schema())


def test_a_missing_choice_from_another_table_is_named():
    with pytest.raises(ValueError, match="x: 'drawn' needs the option 'ink'; add it"):
        choices.build(PICTURES, "drawn", "x")


def picture_schema():
    """Each table under the name of its group."""
    pictures = choices.schema(PICTURES, "#/$defs/pictures")
    drawn = next(row for row in pictures["oneOf"] if row.get("description", "").startswith("A sh"))
    assert drawn["properties"]["ink"] == {"$ref": "#/$defs/inks"}
    assert drawn["properties"]["of"] == {"$ref": "#/$defs/pictures"}
    made = {
        "pictures": pictures,
        "inks": choices.schema(INKS, "#/$defs/inks"),
        "shapes": choices.schema(TABLE, "#/$defs/shapes"),
    }
    return {"$ref": "#/$defs/pictures", "$defs": made}


def test_packages_add_rows_to_another_table_too(monkeypatch):
    def installed(group):
        return [Entry()] if group == "routing.inks" else []

    monkeypatch.setattr(metadata, "entry_points", installed)
    value = {"name": "drawn", "ink": "mine"}
    built = choices.build(PICTURES, value, "x")
    assert built == Drawn(Mine())
    assert choices.describe(PICTURES, built) == PICTURE | {"ink": {"name": "mine"}}
    with pytest.raises(ValueError, match="x.of: unknown name 'mine'"):
        choices.build(PICTURES, value | {"of": "mine"}, "x")
