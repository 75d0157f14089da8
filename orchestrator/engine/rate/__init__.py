"""The rate of requests: the gate, its arithmetic (GCRA), the adaptive rate, the circuit breaker, the poll backoff."""
