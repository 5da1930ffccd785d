"""The only SQL: set-based functions that take lists, on a connection whose transaction the caller holds."""
