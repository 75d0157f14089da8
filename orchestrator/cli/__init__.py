"""The command line: `commands/` declares, `handlers/` parses, asks and prints.

What all commands share stands here. Planning and carrying out live in `runs`, texts in `report`.
"""
