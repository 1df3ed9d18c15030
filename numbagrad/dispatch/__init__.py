"""How ops are declared and called: the kinds of ops, their fast and their general paths, and what they record."""
