"""The structure: imports go one way, no circle of files, few rooms, no file that is too long."""

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("tce_core", "search_spaces", "sweeps")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
LONGEST = 260  # lines
FLOORS = 7


@cache
def imports(module):
    """The files of this project that a file imports, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found & FILES.keys() - {module})


def room(module):
    """Of `sweeps`: a folder, or a file at the top. Another package is one room."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "sweeps" else parts[0]


def depth(graph):
    """The longest way down in a graph without circles; a circle is named in the error."""
    known = {}

    def floor(node, above=()):
        if node in above:
            raise AssertionError(" -> ".join((*above[above.index(node) :], node)))
        if node not in known:
            known[node] = 1 + max((floor(below, (*above, node)) for below in graph[node]), default=0)
        return known[node]

    return max(map(floor, graph))


def test_no_circle_of_files():
    depth({module: imports(module) for module in FILES})


def test_the_rooms_of_sweeps_stand_on_few_floors():
    rooms = {room(module): set() for module in FILES}
    for module in FILES:
        rooms[room(module)] |= {room(other) for other in imports(module)} - {room(module)}
    sweeps = {name: {other for other in below if other.startswith("sweeps")} for name, below in rooms.items()}
    assert depth(sweeps) <= FLOORS
    depth(rooms)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ("tce_core", "search_spaces"),
        ("tce_core", "sweeps"),
        ("search_spaces", "sweeps"),
        ("sweeps.storage", "sweeps.strategy"),
        ("sweeps.strategy", "sweeps.execution"),
        ("sweeps.strategy", "sweeps.reporting"),
        ("sweeps.execution", "sweeps.reporting"),
        ("sweeps.reporting", "sweeps.execution"),
        ("sweeps.reporting", "sweeps.sweep"),
    ],
)
def test_a_room_does_not_import_one_above_or_beside_it(lower, upper):
    wrong = [
        (module, other)
        for module in FILES
        for other in imports(module)
        if f"{module}.".startswith(f"{lower}.") and f"{other}.".startswith(f"{upper}.")
    ]
    assert wrong == []


def test_the_science_knows_no_search():
    for module, path in FILES.items():
        if module.startswith("tce_core"):
            names = {
                name.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                for name in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
            }
            assert not names & {"ray", "optuna", "mlflow"}, module


def test_sweeps_has_few_rooms_and_none_hides_an_installed_package():
    """`python sweeps/run.py` puts this folder first on `sys.path`."""
    rooms = [path for path in (ROOT / "sweeps").iterdir() if path.name != "__pycache__"]
    assert len(rooms) <= 15, sorted(path.name for path in rooms)
    installed = {*packages_distributions(), *sys.stdlib_module_names} - set(PACKAGES)
    assert not installed & {path.stem for path in rooms if path.is_dir() or path.suffix == ".py"} - {
        "__init__",
        "__main__",
    }


def test_no_source_file_is_too_long():
    paths = [*FILES.values(), *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "examples").glob("*.py")]
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_the_tests_mirror_the_folders():
    """A folder of tests stands for a folder of the source."""
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    for folder in folders - {Path(), Path("examples")}:
        assert (ROOT / folder).is_dir(), folder


def test_the_architecture_page_names_every_file():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = page[page.index("## Files") :]
    paths = {path.relative_to(ROOT) for path in FILES.values() if path.name != "__init__.py"}
    missing = sorted(str(path) for path in paths if path.name not in tree)
    assert missing == []
    listed = set(re.findall(r"\b(\w+\.py)\b", tree))
    assert listed <= {path.name for path in paths} | {"test_structure.py"}


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
)
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_no_placeholder_is_left_in_a_page(page):
    assert not re.search(r"@[A-Z]+@|TODO|XXX", (ROOT / page).read_text(encoding="utf-8"))
