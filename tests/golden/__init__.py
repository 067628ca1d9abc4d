"""Golden regression: what every classic strategy came to on every bar set, line by line, so that a change is seen in review."""
