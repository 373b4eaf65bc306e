"""Search: models of the hub by words, a short list to begin with, and whether they fit into what is here."""
