"""A run as text: live view, summary, questions, the plan of a resume."""
