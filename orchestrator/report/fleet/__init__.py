"""A plan and a run over many workspaces, as text, JSON, HTML and Markdown. Made from the parts of plans and runs."""
