"""`python -m darkroom` is `darkroom`: how the launcher starts its parts, whatever is on PATH."""

from darkroom.cli import main

main()
