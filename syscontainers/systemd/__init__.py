"""PID 1 as a typed client, and the text of units."""
