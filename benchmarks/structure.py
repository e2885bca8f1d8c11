"""Print the figures of the project's structure: files, lines, rooms, import chains, circles, the tour, tests.

Run as ``make figures``, or ``python benchmarks/structure.py CHECKOUT`` for another checkout.
"""

import ast
import importlib
import re
import statistics
import sys
from pathlib import Path

import grimp
import networkx

PACKAGE = "hybridtune"


def line_count(path: Path) -> int:
    """Return the number of lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def describe_files(root: Path) -> None:
    """Print files, lines, rooms and root modules of the package."""
    files = {path: line_count(path) for path in sorted((root / PACKAGE).rglob("*.py"))}
    files = {path: lines for path, lines in files.items() if lines}
    largest = max(files, key=files.__getitem__)
    print(f"library: {len(files)} files, {sum(files.values()):,} lines")
    print(f"a file: median {statistics.median(files.values()):g} lines, at most {files[largest]} ({largest.name})")
    rooms = sorted({path.parent.name for path in files if path.parent.parent == root / PACKAGE})
    modules = sorted(path.stem for path in files if path.parent == root / PACKAGE and path.name != "__init__.py")
    print(f"rooms: {len(rooms)} ({', '.join(rooms)}); root modules: {len(modules)} ({', '.join(modules)})")


def describe_imports(root: Path) -> None:
    """Print the longest chain of imports and every circle, imports inside functions included."""
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    found = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    graph = networkx.DiGraph()
    for module in found.modules:
        graph.add_edges_from((module, imported) for imported in found.find_modules_directly_imported_by(module))
    graph.remove_nodes_from([PACKAGE])  # its lazy names reach into every room
    circles = [sorted(part) for part in networkx.strongly_connected_components(graph) if len(part) > 1]
    print(f"circles: {len(circles)} {circles or ''}".rstrip())
    if not circles:
        chain = networkx.dag_longest_path(graph)
        print(f"longest import chain: {len(chain)} ({' > '.join(name.removeprefix(PACKAGE + '.') for name in chain)})")


def describe_tour(root: Path) -> None:
    """Print what a reader of docs/tour.md opens to follow a pair of texts from its file to a figure in the report."""
    tour = root / "docs" / "tour.md"
    if not tour.is_file():
        return
    heading = rf"^##.*`(\w+(?:\.\w+)?)` in \[`[^`]+`\]\(\.\./({PACKAGE}/[\w/]+\.py)\)"
    stops = re.findall(heading, tour.read_text(encoding="utf-8"), re.M)
    files = sorted({file for _, file in stops})
    shown = sum(function_lines(root / file, name) for name, file in stops)
    opened = sum(line_count(root / file) for file in files)
    print(f"the tour: {len(stops)} functions of {shown} lines, in {len(files)} files of {opened:,} lines")


def function_lines(path: Path, name: str) -> int:
    """Return the number of lines of ``function`` or ``Class.method`` in a file, without its docstring."""
    node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for part in name.split("."):
        node = next(child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == part)
    assert isinstance(node, ast.FunctionDef)
    docstring = node.body[0] if ast.get_docstring(node) else None
    hidden = docstring.end_lineno - docstring.lineno + 1 if docstring and docstring.end_lineno else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - hidden


def describe_tests(root: Path) -> None:
    """Print files, lines and asserts of the tests."""
    texts = [path.read_text(encoding="utf-8") for path in (root / "tests").rglob("*.py")]
    lines = sum(len(text.splitlines()) for text in texts)
    asserts = sum(len(re.findall(r"^\s*assert\b", text, re.M)) for text in texts)
    print(f"tests: {len(texts)} files, {lines:,} lines, {asserts:,} asserts")


def main() -> None:
    """Print all figures of the checkout named on the command line, or of this one."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    for describe in (describe_files, describe_imports, describe_tour, describe_tests):
        describe(root)


if __name__ == "__main__":
    main()
