"""Files: archives, unpickling without running code, limits, temporary files."""
