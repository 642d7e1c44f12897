"""LendPath, a fictional mortgage lender: its people, what they do all day, and who turned out to be up to no good."""
