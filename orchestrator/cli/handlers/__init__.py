"""The body of each command, one file a command: parse, ask, call `runs`, print. Loaded when the command is called."""
