"""Stop fleets of Phala Cloud confidential VMs by playbook, and prove afterwards what was done.

A *playbook* says which CVMs and what to do with them, the *plan* says what that means right now, the *engine*
carries it out, and the *audit log* holds every step before it happens. Each of these words is a folder.
"""

__version__ = "0.1.0"
