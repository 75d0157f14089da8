"""The simulator: what it promises to whoever tests or rehearses against it."""
