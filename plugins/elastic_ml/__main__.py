"""`python -m elastic_ml`: for a terminal and for CI; see `elastic_ml.cli.main`."""

from elastic_ml.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
