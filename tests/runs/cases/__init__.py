"""Cases of playbooks."""
