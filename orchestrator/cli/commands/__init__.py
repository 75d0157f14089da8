"""The declarations of the commands: arguments, options and help.

Each command imports its handler from `handlers/` only on a call, so that `--help` and shell completion stay quick.
"""
