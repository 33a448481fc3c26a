"""Read public datasets as they lie on disk; one reader per layout."""
