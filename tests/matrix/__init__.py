"""Every task of every DAG, run twice and killed after each of its writes: project, story, and what is compared."""
