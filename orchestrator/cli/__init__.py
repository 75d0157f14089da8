"""The command line: one file a command, no logic; the only place where the parts are wired together."""
