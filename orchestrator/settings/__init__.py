"""Settings: what they are (`model`), and where they come from (`load`).

From the command line, the environment, a TOML file, or the defaults, in this order. May import the words and the
playbook's small types; nothing else of ours.
"""
