"""Settings: what they are (`model`), where they come from (`load`, `toml`), and whose fault a bad one is (`blame`).

From the command line, the environment, a TOML file, or the defaults, in this order. May import the words and the
playbook's small types; nothing else of ours.
"""
