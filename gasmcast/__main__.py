"""`python -m gasmcast`."""

from gasmcast.cli import main

main()
