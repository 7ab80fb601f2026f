"""What can be learned from kept runs: many added up, two compared, one that failed."""
