"""Results of cases as text, JSON and JUnit XML."""
