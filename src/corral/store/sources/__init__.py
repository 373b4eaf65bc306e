"""Sources: from a reference to the files that have to be fetched for it. Nothing is written here."""
