"""A small hospital whose record accesses are learned from: the project of the train and promote tests."""
