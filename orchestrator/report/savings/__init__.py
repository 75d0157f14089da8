"""The savings of stopped CVMs and the charges of their stops, as text, page, chart and JSON."""
