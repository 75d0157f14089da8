"""Plans, runs and histories as text, HTML, CSV, Markdown and JSON. Knows no terminal input and changes nothing."""
