"""What tells people: notifiers, and the callback of a missed deadline."""
