"""The cases, one file each: what is run, beside what, and what to reach."""
