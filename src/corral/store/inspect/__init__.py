"""What a model is, by the headers of its files: on this machine, or at the other end of an address."""
