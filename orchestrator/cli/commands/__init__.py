"""What the command line takes: one file a command, each with its arguments, its options and its help.

Quick to import, so that `--help` and the shell's completion answer at once: what a command does is in the file of the
same name above, imported when it is called. That one takes what click read, by the names given here.
"""
