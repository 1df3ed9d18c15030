"""Reading and writing at places: indices, masks, searches, sorting, embedding."""
