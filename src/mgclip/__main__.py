"""``python -m mgclip`` is the same command as ``mgclip``."""

from mgclip.app.main import main

main()
