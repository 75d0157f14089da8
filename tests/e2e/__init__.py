"""The installed command, as a process of its own, against a simulated cloud on a real socket."""
