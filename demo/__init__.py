"""The tour: one command that runs the whole lifecycle on this machine and shows what came of it."""
