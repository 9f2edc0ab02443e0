"""No module and no package imports another one that imports it, type-only and late imports included."""

from collections.abc import Iterable
from itertools import groupby

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

grimp = pytest.importorskip("grimp", reason="comes with the extra 'dev'")

PACKAGE = "napari_unet_tumour"


def circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of names that reach one another, each sorted, the whole sorted."""
    edges = sorted({(a, b) for a, b in edges if a != b})
    names = sorted({name for edge in edges for name in edge})
    number = {name: n for n, name in enumerate(names)}
    rows, columns = [number[a] for a, _ in edges], [number[b] for _, b in edges]
    matrix = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(names), len(names)))
    _, group = connected_components(matrix, connection="strong")
    ordered = sorted(zip(group.tolist(), names, strict=True))
    grouped = [[name for _, name in some] for _, some in groupby(ordered, key=lambda one: one[0])]
    return sorted(some for some in grouped if len(some) > 1)


def package_edges(imports: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return, for every import, the two names at which the paths of its modules part."""
    edges = []
    for importer, imported in imports:
        here, there = importer.split("."), imported.split(".")
        same = next((n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), None)
        if same is not None:  # else one of them is the package of the other
            edges.append((".".join(here[: same + 1]), ".".join(there[: same + 1])))
    return edges


@pytest.fixture(scope="module")
def imports() -> list[tuple[str, str]]:
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    return [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]


def test_the_finder_finds_circles_and_nothing_else():
    straight = [("a.x", "b.y"), ("b.y", "c.z"), ("a.x", "c.z")]
    assert circles(straight) == circles(package_edges(straight)) == []
    assert circles([*straight, ("c.z", "a.x")]) == [["a.x", "b.y", "c.z"]]
    assert circles([("a.x", "b.y"), ("b.w", "a.v")]) == []
    assert circles(package_edges([("a.x", "b.y"), ("b.w", "a.v")])) == [["a", "b"]]
    assert circles(package_edges([("p.a.x", "p.b.y"), ("p.b.w", "p.a.v")])) == [["p.a", "p.b"]]


def test_type_only_and_late_imports_count(imports):
    assert (f"{PACKAGE}.corrections.store", f"{PACKAGE}.corrections.record") in imports
    assert (f"{PACKAGE}.cli.info", f"{PACKAGE}.cli._options") in imports, "for types alone"
    assert (f"{PACKAGE}.cli.info", f"{PACKAGE}.information") in imports, "inside a function"


def test_no_circle_of_modules(imports):
    assert circles(imports) == []


def test_no_circle_of_packages(imports):
    assert circles(package_edges(imports)) == []
