"""The web page of the restorer: what it reads, what it does, how it looks, how it is served."""
