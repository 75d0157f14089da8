"""`python -m orchestrator` is the same as `orchestrator`."""

from orchestrator.cli.main import main

main()
