"""The process is killed at seeded moments, resumed, and held to the same promises as if nothing had happened."""
