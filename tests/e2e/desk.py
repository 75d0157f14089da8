"""The former name of a site."""

from tests.e2e.site import COMMAND, MODULE, NAMES, PLAYBOOK, QUICK, STILL, Ended, Process, Site, until

Desk = Site

__all__ = ["COMMAND", "MODULE", "NAMES", "PLAYBOOK", "QUICK", "STILL", "Desk", "Ended", "Process", "until"]
