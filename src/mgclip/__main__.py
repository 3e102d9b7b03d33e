"""The command ``mgclip``, also as ``python -m mgclip``. Ctrl-C ends it quietly, even while it is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code: 0, 1 (failure), 2 (wrong input) or 130 (Ctrl-C)."""
    try:
        from mgclip.app.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
