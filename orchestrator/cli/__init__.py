"""The command line: `commands/` declares, `handlers/` parses, asks and prints.

The modules here are shared by all commands. Planning and carrying out live in `runs`, texts in `report`.
"""
