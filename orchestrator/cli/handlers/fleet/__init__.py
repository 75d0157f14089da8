"""The bodies of commands for fleet runs: the same options as for a single run, with the id of a fleet run."""
