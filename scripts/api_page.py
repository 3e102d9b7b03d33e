"""Build the API page from the docstrings of the package's public names.

    python scripts/api_page.py build/docs

This needs the extra `docs`. pdoc alone would not find these names, because the package imports each of them on first use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mgclip


def main() -> None:
    import pdoc  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="Folder to write.")
    out = parser.parse_args().out
    for name in mgclip.__all__:
        setattr(mgclip, name, getattr(mgclip, name))
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("mgclip", "!mgclip[.]", output_directory=out)


if __name__ == "__main__":
    main()
