"""The check of a playbook's workspaces against the settings, for commands without other use of the settings."""

from orchestrator.errors import OrchestratorError
from orchestrator.playbook.schema import Playbook


def find_workspace_mismatch(playbook: Playbook) -> str | None:
    """Explain why a playbook's workspaces do not match the settings; None without workspaces or usable settings."""
    if not playbook.workspaces:
        return None
    from orchestrator.runs.workspaces import explain_mismatch  # noqa: PLC0415 - few playbooks name workspaces
    from orchestrator.settings.load import load_settings  # noqa: PLC0415 - the same

    try:
        settings = load_settings(None, ())
    except OrchestratorError:
        return None  # a playbook is valid without settings; other commands report their faults
    return explain_mismatch(settings, playbook)
