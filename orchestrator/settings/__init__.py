"""Settings: fields (`model`), sources (`sources`, `toml`), their merge (`merge`), and errors (`error_source`).

The sources are the command line, the environment, a TOML file and the defaults, in this order. May import the shared
words and the playbook's small types, no other package of this project.
"""
