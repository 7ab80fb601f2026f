"""What model calls use: found, credited to the run that made them, added up and priced."""
