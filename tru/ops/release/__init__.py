"""Release: the model registry, the data versions, and the object that answers "top-k for these users"."""
