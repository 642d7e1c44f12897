"""What a person or a CI job types: `python -m elastic_ml init | check | plan | verify | roles | doctor`."""
