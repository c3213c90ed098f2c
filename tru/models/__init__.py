"""The backbones: recommenders that can be trained, embedded and told to forget."""
