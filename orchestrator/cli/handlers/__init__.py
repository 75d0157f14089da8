"""The body of every command, a file for every command: parse, ask, call `runs`, print. Imported on the call."""
