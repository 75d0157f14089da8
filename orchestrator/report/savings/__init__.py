"""What stopped CVMs saved, and what their stops were charged, as text, page, chart and JSON."""
