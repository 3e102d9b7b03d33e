"""Modules import each other in one direction only, also for types."""

from graphlib import TopologicalSorter

import grimp


def test_no_module_imports_another_in_a_circle():
    graph = grimp.build_graph("mgclip", cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imported).prepare()  # raises CycleError with the modules of a circle
