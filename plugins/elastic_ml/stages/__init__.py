"""One module per stage: each builds its DAGs from a project folder."""
