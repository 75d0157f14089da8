"""Everything that can go wrong, at once, over real sockets: seeded, and held to the same promises every time."""
