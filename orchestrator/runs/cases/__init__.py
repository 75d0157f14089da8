"""Cases of playbooks: written CVMs, and the expected plan."""
