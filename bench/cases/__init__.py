"""The cases, one file each: the command, its yardsticks and its targets."""
